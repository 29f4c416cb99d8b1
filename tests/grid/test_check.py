"""The environment check: every requirement is one line, a broken one names its fix, and offline is decided fast."""

import http.server
import socket
import threading
import time

import pytest

from lib.common import bundled
from lib.grid import machine as check
from lib.params.params import load


@pytest.fixture
def server():
    """A small web server on the loopback; yields its address."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    bundled.online.cache_clear()


@pytest.fixture
def deaf():
    """An address that accepts connections and never answers: the slowest kind of offline."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_unanswering_hub_is_found_out_in_three_seconds(deaf, server):
    started = time.monotonic()
    assert not check.answers(deaf)
    assert time.monotonic() - started < 3
    assert check.answers(server)


def test_a_name_look_up_that_hangs_counts_as_no_answer():
    assert not bundled.in_time(lambda: bool(time.sleep(30)), 0.2)
    assert not bundled.in_time(lambda: 1 / 0, 1)


def switch_hub(monkeypatch, off: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if off else "0")
    bundled.online.cache_clear()


def test_switching_the_hub_off_needs_no_network(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server)
    switch_hub(monkeypatch, off=True)
    assert not check.online()
    switch_hub(monkeypatch, off=False)
    assert check.online()


def test_folders_bundled_names_cache_and_hub_names_are_told_apart(tmp_path, monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", server)
    switch_hub(monkeypatch, off=False)

    def found(name):
        named = load(
            "classroom", {"public.source": "e5", "public.location": name, "negatives.strategy": {"short_short": "llm"}}
        )
        return [finding for finding in check.places(named) if "public.location" in finding.what]

    assert [f.ok for f in found(str(tmp_path))] == [True]
    (gone,) = found(str(tmp_path / "gone"))
    assert not gone.ok and "does not exist; correct public.location" in str(gone)
    (hub,) = found("someone/some-data")
    assert hub.ok and "the hub answers" in hub.what
    switch_hub(monkeypatch, off=True)
    (offline,) = found("someone/some-data")
    assert str(offline).startswith("[FAIL] the hub does not answer (") and "name the folders instead" in str(offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "datasets--someone--some-data" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").write_text("{}")
    (cached,) = found("someone/some-data")
    assert cached.ok and "in the hub's cache" in cached.what


def test_the_released_triplets_must_be_somewhere(tmp_path, monkeypatch, server):
    monkeypatch.setenv("HF_ENDPOINT", server)
    switch_hub(monkeypatch, off=False)

    def found(location, backend="released"):
        named = load("classroom", {"generation.backend": backend, "generation.location": location})
        return [finding for finding in check.places(named) if "generation.location" in finding.what]

    assert [f.ok for f in found(str(tmp_path))] == [True] and found("", backend="replay") == []
    assert "does not exist; correct generation.location" in str(*found(str(tmp_path / "gone")))
    assert "generation.location is empty; name a folder, or one of the hub's datasets" in str(*found(""))
    assert [f.ok for f in found("someone/some-triplets")] == [True]
    switch_hub(monkeypatch, off=True)
    assert "someone/some-triplets; connect to it, or download there" in str(*found("someone/some-triplets"))


def test_a_wrong_or_missing_package_names_the_command_that_fixes_it(monkeypatch):
    real = check._version
    monkeypatch.setattr(check, "_version", lambda name: {"torch": "1.0", "peft": None}.get(name, real(name)))
    said = [str(f) for f in check.software(load("classroom")) if not f.ok]
    assert any("torch 1.0, pinned ==2.13.0; run" in line and "pip install 'torch==2.13.0'" in line for line in said)
    assert any("peft is not installed" in line for line in said)


def test_vllm_is_asked_for_only_where_the_profile_generates_with_it(monkeypatch):
    monkeypatch.setattr(check, "_version", lambda name: None)

    def asked(backend):
        params = load("classroom", {"generation.backend": backend})
        return any(finding.what.startswith("vllm") for finding in check.software(params))

    assert asked("vllm") and not asked("replay")


def test_the_key_of_a_remote_server_must_be_set(monkeypatch, server):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(check, "answers", lambda address: True)

    def key(url):
        return next(check.generator(load("classroom", {"generation.backend": "openai", "generation.base_url": url})))

    assert "say `export OPENAI_API_KEY=...`" in str(key("https://api.example.org/v1"))
    assert key("http://127.0.0.1:8000/v1").ok  # one's own server wants none
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    finding = key("https://api.example.org/v1")
    assert finding.ok and "secret" not in str(finding)


def test_jobs_that_want_more_memory_than_the_machine_has():
    said = [str(f) for f in check.disk_and_memory(load("classroom", {"grid.mem_mb": 10**9}))]
    assert any(line.startswith("[FAIL]") and "per job; use a machine with more memory" in line for line in said)


def test_the_answer_comes_first_and_what_is_wrong_next(monkeypatch):
    fine, wrong = check.Finding(True, "a disk"), check.Finding(False, "no memory", "buy some")
    monkeypatch.setattr(check, "findings", lambda params: iter([fine, wrong]))
    able, text = check.report(load("classroom"))
    first, *lines = text.splitlines()
    assert not able and first == "This machine cannot run the profile classroom yet: 1 of 2 requirements fail."
    assert lines == ["[FAIL] no memory; buy some", "[OK]   a disk"]
    monkeypatch.setattr(check, "findings", lambda params: iter([fine]))
    assert check.report(load("classroom")) == (True, "This machine can run the profile classroom.\n[OK]   a disk")
