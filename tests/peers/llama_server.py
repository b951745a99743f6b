#!/usr/bin/env python3
"""llama.cpp's server as the program that newer versions of Ollama start for a model, by the package xllamacpp.

    llama_server.py --model FILE --host HOST --port PORT [-c N] [-np N] [-t N] [-b N] [-ub N] [--no-jinja] [--chat-template NAME] ...

Options that change no answer on a processor are passed over. Ends when it is killed, as by Ollama.
"""
import argparse
import signal
import sys

import xllamacpp


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("-c", type=int, default=0)
    parser.add_argument("-np", type=int, default=1)
    parser.add_argument("-t", type=int)
    parser.add_argument("-b", type=int)
    parser.add_argument("-ub", type=int)
    parser.add_argument("--no-jinja", action="store_true")
    parser.add_argument("--chat-template", default="")
    parser.add_argument("--embedding", action="store_true")
    arguments, _ = parser.parse_known_args()
    if arguments.model is None or arguments.port is None:
        return 0  # asked for its devices or version
    params = xllamacpp.CommonParams()
    params.model.path = arguments.model
    params.hostname, params.port = arguments.host, arguments.port
    params.n_ctx, params.n_parallel = arguments.c, arguments.np
    params.use_jinja, params.chat_template = not arguments.no_jinja, arguments.chat_template
    params.embedding, params.warmup, params.n_gpu_layers = arguments.embedding, False, 0
    params.n_batch = arguments.b or params.n_batch
    params.n_ubatch = arguments.ub or params.n_ubatch
    if arguments.t:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.t
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    return 0


if __name__ == "__main__":
    sys.exit(main())
