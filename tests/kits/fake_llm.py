"""A small OpenAI-compatible server on loopback whose answers depend on prompt and seed alone.

It is slow, unpunctual (answers overtake each other) and, when told so, ill: rate limits, errors, cut connections.
"""

import hashlib
import json
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dirty

from lib.generate.prompts import KEYS


def answer_to(prompt: str, seed: int) -> tuple[str, str]:
    """Return (text, finish reason): a brainstorm list, or a dirty object for the category the prompt asks for."""
    rng = random.Random(hashlib.sha256(f"{seed}/{prompt}".encode()).digest())
    if "Python list of strings" in prompt:
        return json.dumps(
            [f"Given {w} number {rng.randint(0, 40)}, find its match." for w in ("a word", "a plant", "a law")]
        ), "stop"
    keys = next(keys for keys in KEYS.values() if all(f'"{key}"' in prompt for key in keys))
    texts = {
        key: " ".join(rng.choices("lorem ipsum dolor sit amet café 雨 it's 5\" wide".split(), k=rng.randint(1, 12)))
        for key in keys
    }
    text = dirty.dirty(texts, rng, rng.choice(("json", "pretty", "single", "smart", "raw_control")))[1]
    return (text, "stop") if rng.random() > 0.1 else (text[: len(text) // 2], "length")


class FakeLLM:
    """``with FakeLLM() as server:`` serves at ``server.url``. ``faults(k)`` may return a status, headers or None for
    the k-th request; ``count`` and ``most`` tell how many requests came and were under way at once."""

    def __init__(self, delay=(0.001, 0.01), faults=lambda k: None):
        self.delay, self.faults = delay, faults
        self.count = self.busy = self.most = 0
        self.bodies, self.auth, self.times = [], [], []
        self.lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.handle(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):  # clients are killed on purpose
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def handle(self, http):
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        with self.lock:
            number, self.count, self.busy = self.count, self.count + 1, self.busy + 1
            self.most = max(self.most, self.busy)
            self.bodies.append(body)
            self.auth.append(http.headers.get("Authorization"))
            self.times.append(time.monotonic())
        time.sleep(random.uniform(*self.delay))
        with self.lock:
            self.busy -= 1
        fault = self.faults(number)
        if fault == "cut":
            http.close_connection = True
            http.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, reply = fault or (200, {}, None)
        if status == 200 and reply is None:
            prompt = body["messages"][-1]["content"]
            text, finish = answer_to(prompt, body["seed"])
            reply = {
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
                "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())},
            }
        data = json.dumps(reply).encode()
        http.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(data)
