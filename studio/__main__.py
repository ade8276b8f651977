"""Paint a mask, pick a style, watch it become a landscape: the studio, in the browser of this machine."""
import argparse
import re
import socket
import time
from pathlib import Path

from runtime.errors import UserError, run_script

EXAMPLES = """examples:
  python -m studio                                         the demo's small networks: 512x384, on any CPU
  python -m studio --checkpoint checkpoints/iidm.safetensors --styles TRAIN
  python -m studio --host 0.0.0.0 --token CHOOSE-ONE       for other machines of the network

Without --checkpoint it takes what test.py would take, and the demo's weights where there is nothing.
Pictures, masks and recipes go to --output; python -m studio.recipe FILE makes test.py paint one again."""


def parse(argv):
    """The words after the command -> its options."""
    parser = argparse.ArgumentParser(prog="python -m studio", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", metavar="FILE", help="U-Net weights (default: as test.py, else the demo's)")
    parser.add_argument("--autoencoder", metavar="FILE", help="its weights (default: the path in the checkpoint's config)")
    parser.add_argument("--segmenter", metavar="FILE", help="makes masks of photos; as for evaluate.py")
    parser.add_argument("--styles", metavar="DIR", help="style pictures (default: synthetic landscapes)")
    parser.add_argument("--output", default="studio-results", metavar="DIR", help="results (default: studio-results)")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16", "auto"], help="default: the config's")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; any but this machine's own needs --token")
    parser.add_argument("--token", help="what a browser has to know; part of the address that is printed")
    parser.add_argument("--name", action="append", default=[], help="another host name that browsers may use; repeatable")
    return parser.parse_args(argv)


def listening(host, port):
    """A socket bound to an address. Raises UserError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise UserError(f"--host {host} --port {port}: cannot listen there ({error}); --port names another") from None
    return found


def main(argv):
    """Serves the page until it is stopped. argv: the words after the command."""
    args = parse(argv)
    try:
        import uvicorn

        from studio.server import Studio, Watch, application
    except ImportError as error:
        raise UserError(f"{error.name} is not installed, expected what the studio needs: "
                        "pip install -r requirements-studio.txt, or make studio") from None
    from studio.compiled import compiled_before, remember
    from studio.guard import is_loopback
    from studio.painter import open_painter
    from studio.queue import Queue
    from studio.results import Results
    from studio.shelf import Shelf
    local = is_loopback(args.host)
    if not local and not args.token:
        raise UserError(f"--host {args.host}: found no --token, expected one: others could paint here and look on")
    if args.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,}", args.token):
        raise UserError("--token: expected at least 8 letters, digits, or . _ ~ -; it is part of an address")
    sock = listening(args.host, args.port)
    port = sock.getsockname()[1]
    print("loading the networks", flush=True)
    painter = open_painter(args.checkpoint, args.autoencoder, args.segmenter, args.precision)
    print(painter.about["line"], flush=True)
    queue, compiled = Queue().start(), compiled_before(painter)
    if not compiled:                     # not in the page's time: Jittor holds Python's lock while it compiles
        print("compiling their operators, once: minutes", flush=True)
        painter.warm_up()
        remember(painter)
    shelf = Shelf(painter.height, painter.width, args.styles)
    results = Results(Path(args.output))
    hosts = {"127.0.0.1", "localhost", "[::1]", *args.name} | (set() if local else {"*", socket.gethostname()})
    app = application(Studio(painter, queue, shelf, results), hosts, port, args.token)
    shown = "127.0.0.1" if args.host == "0.0.0.0" else f"[{args.host}]" if ":" in args.host else args.host
    sock.listen()                        # who connects on seeing the address waits for the server's first moments, unrefused
    print(f"open http://{shown}:{port}/" + (f"?token={args.token}" if args.token else ""), flush=True)
    if compiled:                         # Jittor's first calls are slow all the same
        queue.begin(lambda job: painter.warm_up(Watch(job, time.monotonic())) or {})
    config = uvicorn.Config(app, log_level="error", http="h11", ws="none", server_header=False, timeout_keep_alive=10,
                            limit_concurrency=256, timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    run_script(main)
