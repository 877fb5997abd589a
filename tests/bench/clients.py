"""The clients that `bench` holds against each other: how each is told to send a folder, and what it takes."""
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_SECONDS = 600               # of one run of one client
SETTLE_SECONDS = 1                  # how long a watched file rests before it is sent


@dataclass
class Endpoint:
    name: str
    host: str
    port: int
    user: str
    password: str
    root: Path
    ca: Path
    prefix: list = field(default_factory=list)      # how a command reaches it


@dataclass
class Outcome:
    wall: float = 0.0
    cpu: float = 0.0
    peak_mib: float = 0.0
    wrong: str = ""
    packets: int | None = None      # where they were counted
    server_cpu: float = 0.0


def nightferry(end, source, target, scratch, options):
    config = scratch / "jobs.yaml"
    secret = scratch / "password"
    if not config.exists():
        secret.write_text(end.password)
        secret.chmod(0o600)
        (scratch / "state").mkdir(mode=0o700)       # doctor keeps nothing where there is none
        server = {"host": end.host, "port": end.port, "username": end.user, "password": {"file": str(secret)},
                  "trust": {"ca_file": str(end.ca)}}
        job = {"source": str(source), "server": "bench", "destination": "/" + target}
        if not options.own_defaults:
            server["connections"], job["verify"] = options.connections, options.verify
        if options.what == "published":
            job["watch"] = {"settle": f"{SETTLE_SECONDS}s"}
        config.write_text(json.dumps({
            "version": 1, "agent": {"state_dir": str(scratch / "state")},
            "servers": {"bench": server}, "jobs": {"bench": job},
        }))
    return [str(options.binary), "--config", str(config), "-q", "sync"], {}


def meet(end, source, target, scratch, options):
    """Lets Nightferry find out what the server can do."""
    arguments, _ = nightferry(end, source, target, scratch, options)
    doctor = [*end.prefix, *arguments[:-1], "doctor", "bench"]
    met = subprocess.run(doctor, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    if met.returncode != 0:
        raise SystemExit(f"doctor: exit {met.returncode}: {met.stdout}{met.stderr}")


def lftp(parallel):
    def command(end, source, target, scratch, options):
        settings = [
            "ftp:ssl-force yes", "ftp:ssl-protect-data yes", f"ssl:ca-file {end.ca}", "net:max-retries 3",
            "xfer:clobber yes", "mirror:set-permissions no",
        ]
        lines = [f"set {setting}" for setting in settings]
        lines.append(f"open -u {end.user},{end.password} ftp://{end.host}:{end.port}")
        lines.append(f"mirror -R --parallel={parallel} {source} /{target}")
        return ["lftp", "--norc", "-c", "; ".join(lines)], {"HOME": str(scratch)}
    return command


def rclone(transfers):
    return lambda *work: rclone_with(transfers, *work)


def rclone_with(transfers, end, source, target, scratch, options):
    obscured = subprocess.run(["rclone", "obscure", end.password], check=True, capture_output=True, text=True)
    arguments = [
        "rclone", "copy", str(source), f":ftp:{target}", "--config", "/dev/null", "--ftp-host", end.host,
        "--ftp-port", str(end.port), "--ftp-user", end.user, "--ftp-pass", obscured.stdout.strip(),
        "--ftp-explicit-tls", "--transfers", str(transfers), "--checkers", "8", "--ftp-writing-mdtm", "--retries", "1",
        # Its TLS 1.3 fails on vsftpd, and with several transfers also elsewhere.
        "--ftp-disable-tls13",
    ]
    return arguments, {"SSL_CERT_FILE": str(end.ca), "HOME": str(scratch)}


def curl(parallel):
    return lambda *work: curl_with(parallel, *work)


def curl_with(parallel, end, source, target, scratch, options):
    lines = []
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        where = f"ftp://{end.host}:{end.port}/{target}/{path.relative_to(source)}"
        lines += [f'upload-file = "{path}"', f'url = "{where}"']
    config = scratch / "curl.conf"
    config.write_text("\n".join(lines))
    arguments = [
        "curl", "-q", "-sS", "--ssl-reqd", "--cacert", str(end.ca), "-u", f"{end.user}:{end.password}",
        "--ftp-create-dirs", "--tls-max", "1.2", "-K", str(config),
    ]
    arguments += ["-Z", "--parallel-max", str(parallel)] if parallel > 1 else []
    return arguments, {"HOME": str(scratch)}


COMMANDS = {
    "nightferry": nightferry, "lftp-1": lftp(1), "lftp-8": lftp(8), "rclone-4": rclone(4), "rclone-8": rclone(8),
    "curl-1": curl(1), "curl-8": curl(8),
}
ALIKE = ["nightferry", "lftp-1", "lftp-8", "rclone-8", "curl-8"]    # with Nightferry's connections, and lftp with one
AS_THEY_COME = ["nightferry", "lftp-1", "rclone-4", "curl-1"]


def measure(arguments, environment, log):
    """Runs a command to its end. CPU time and peak memory are the kernel's, of it and its children; asked by
    time(1), since a child of this process would begin with its memory."""
    figures = log.with_suffix(".figures")
    timed = ["time", "-q", "-f", "%U %S %M", "-o", str(figures), *arguments]
    with open(log, "wb") as output:
        begun = time.monotonic()
        process = subprocess.Popen(timed, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env={**os.environ, **environment}, start_new_session=True)
        try:
            process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Outcome(wrong=f"not done within {LONGEST_SECONDS} s")
        wall = time.monotonic() - begun
    user, system, peak = figures.read_text().split()
    outcome = Outcome(wall, float(user) + float(system), int(peak) / 1024)
    if process.returncode != 0:
        outcome.wrong = f"exit {process.returncode}: {last_word(log)}"
    return outcome


def count_packets(arguments, log):
    """How many packets a command sends in a network of its own, in which nobody is: one that needs somebody
    fails there."""
    script = 'ip link set lo up && "$@" >&2 && cat /proc/net/dev'
    with open(log, "wb") as errors:
        counted = subprocess.run(["unshare", "--net", "sh", "-c", script, "sh", *arguments], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=errors, text=True, timeout=LONGEST_SECONDS)
    if counted.returncode != 0:
        raise SystemExit(f"without a network: exit {counted.returncode}: {last_word(log)}")
    interfaces = [line.split(":")[1].split() for line in counted.stdout.splitlines() if ":" in line]
    return sum(int(counters[9]) for counters in interfaces)


def last_word(log):
    """What a client said last, without its meters."""
    text = log.read_text(errors="replace").replace("\r", "\n")
    lines = [line.strip(" \t*") for line in text.splitlines() if "--:--" not in line]
    return next((line[:100] for line in reversed(lines) if any(map(str.isalpha, line))), "without a word")
