"""A toy FTPS server for compose.yaml: TLS on both connections, one account."""

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

authorizer = DummyAuthorizer()
authorizer.add_user("try", "not-a-secret", "/inbox", perm="elradfmwMT")


class Handler(TLS_FTPHandler):
    """Takes nothing in clear."""

    certfile = "/pki/server.pem"
    tls_control_required = True
    tls_data_required = True


Handler.authorizer = authorizer
ThreadedFTPServer(("0.0.0.0", 2121), Handler).serve_forever()
