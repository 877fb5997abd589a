#!/usr/bin/env python3
"""pyftpdlib as an FTPS server, explicit or implicit, for `servers`."""
import argparse

from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.servers import FTPServer


TLS_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class Implicit(TLS_FTPHandler):
    """TLS from the first byte; the greeting follows the handshake."""

    def handle(self):
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self):
        TLS_FTPHandler.handle(self)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--address", default="127.0.0.1")
    a.add_argument("--port", type=int, required=True)
    a.add_argument("--passive", type=int, nargs=2, required=True)
    a.add_argument("--bundle", required=True)
    a.add_argument("--root", required=True)
    a.add_argument("--user", required=True)
    a.add_argument("--password", required=True)
    a.add_argument("--implicit", action="store_true")
    a.add_argument("--tls", choices=TLS_VERSIONS, help="the only version spoken")
    a.add_argument("--max-cons", type=int, default=60)
    a.add_argument("--timeout", type=int, default=300)
    o = a.parse_args()

    auth = DummyAuthorizer()
    auth.add_user(o.user, o.password, o.root, perm="elradfmwMT")
    h = Implicit if o.implicit else TLS_FTPHandler
    h.authorizer = auth
    h.certfile = o.bundle
    h.tls_control_required = True
    h.tls_data_required = True
    if o.tls:
        context = h.get_ssl_context()
        context.set_min_proto_version(TLS_VERSIONS[o.tls])
        context.set_max_proto_version(TLS_VERSIONS[o.tls])
    h.timeout = o.timeout
    h.passive_ports = range(o.passive[0], o.passive[1] + 1)
    s = FTPServer((o.address, o.port), h)
    s.max_cons = o.max_cons
    s.max_cons_per_ip = o.max_cons
    s.serve_forever()


if __name__ == "__main__":
    main()
