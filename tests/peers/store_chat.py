#!/usr/bin/env python3
"""Asks a real Ollama, by /api/chat, what the models of a store answer; each must end by itself, at its stop word.

    store_chat.py OLLAMA CHECKER_FOLDER STORE NAME...

OLLAMA: the program; CHECKER_FOLDER: where check_store.py is, whose server this uses, on a copy of the store made by it.
"""
import pathlib
import sys
import tempfile

QUESTIONS = [("What is the capital of France?", "Paris"), ("Say hello.", "")]  # and a word that the answer must have
MARKS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]


def main():
    ollama_program, checker, store, *names = sys.argv[1:]
    sys.path.insert(0, checker)
    import check_store

    failed = 0
    with tempfile.TemporaryDirectory(dir=pathlib.Path(store).parent) as scratch:
        work = pathlib.Path(scratch, "store")
        work.mkdir()
        check_store.copy_store(store, str(work))
        ollama = check_store.Ollama(ollama_program, str(work), scratch, 600)
        ollama.start()
        try:
            for name in names:
                for question, wanted in QUESTIONS:
                    options = {"temperature": 0, "num_predict": 200, "seed": 1, "num_ctx": 512, "num_thread": 1}
                    _, body = ollama.request("POST", "/api/chat", {"model": name, "stream": False, "options": options,
                                                                   "messages": [{"role": "user", "content": question}]})
                    text = (body.get("message") or {}).get("content", "")
                    good = (body.get("done_reason") == "stop" and text.strip() != "" and wanted in text
                            and not any(mark in text for mark in MARKS))
                    failed += not good
                    print(f"{'ok  ' if good else 'FAIL'} {name}: {question} {text!r} {body.get('done_reason')} {body.get('error', '')}")
        finally:
            ollama.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
