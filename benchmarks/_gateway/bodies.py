"""What larger and translated work costs: long prompts, inline images, another dialect, TLS upstream."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks._gateway.requests import chat, message
from benchmarks._gateway.rounds import Lane, cpu, interleave, print_spread
from benchmarks._gateway.targets import Tls, farthing, nginx, project
from benchmarks._gateway.world import LOAD_CORE, Bench
from benchmarks._harness import free_port

CONNECTIONS = 32


def bodies(bench: Bench) -> None:
    """A prompt of 16 kB and one of 128 kB with three inline images, against the small one."""
    with farthing(bench) as target:
        lanes = {
            "small": Lane(target=target, ask=chat()),
            "16kb": Lane(target=target, ask=chat(kilobytes=16)),
            "128kb_images": Lane(target=target, ask=chat(kilobytes=128, images=3)),
        }
        rounds = interleave(bench, lanes, CONNECTIONS)
    for name, most in (("16kb", 2.0), ("128kb_images", 6.0)):
        bench.report.add(f"farthing_cpu_us_per_call_{name}_c32", rounds.median(name, cpu))
        ratio = rounds.ratio(name, "small", cpu)
        bench.report.add(f"farthing_cpu_ratio_{name}_to_small", ratio, target=most)
    print_spread("bodies", rounds)


def translated(bench: Bench) -> None:
    """An Anthropic client of an OpenAI upstream: whole answers, and streams built event by event."""
    with farthing(bench) as target:
        lanes = {
            "call": Lane(target=target, ask=message()),
            "stream": Lane(target=target, ask=message(stream=True)),
        }
        rounds = interleave(bench, lanes, CONNECTIONS)
    bench.report.add("farthing_cpu_us_per_translated_call_c32", rounds.median("call", cpu))
    stream = rounds.median("stream", cpu)
    bench.report.add("farthing_cpu_us_per_translated_stream_c32", stream, target=1500)
    print_spread("translated", rounds)


def tls(bench: Bench) -> None:
    """The same upstream (nginx before the mock) in plain and by TLS, kept connections."""
    certificate(bench.folder)
    trusted = {"SSL_CERT_FILE": str(bench.folder / "cert.pem")}
    by_tls = Tls(port=free_port(), folder=bench.folder)
    with nginx(bench, core=LOAD_CORE, tls=by_tls) as relay:
        plain = f"http://127.0.0.1:{relay.port}/v1"
        secure = f"https://127.0.0.1:{by_tls.port}/v1"
        with (
            project(bench, base_url=plain) as one,
            project(bench, base_url=secure) as other,
            one.up(name="plain") as to_plain,
            other.up(name="tls", env=trusted) as to_tls,
        ):
            lanes = {
                "plain": Lane(target=to_plain, ask=chat()),
                "tls": Lane(target=to_tls, ask=chat()),
            }
            rounds = interleave(bench, lanes, CONNECTIONS)
    bench.report.add("farthing_cpu_us_per_call_tls_upstream_c32", rounds.median("tls", cpu))
    ratio = rounds.ratio("tls", "plain", cpu)
    bench.report.add("farthing_cpu_ratio_tls_to_plain_upstream", ratio, target=1.5)
    print_spread("tls", rounds)


def certificate(folder: Path) -> None:
    """A certificate of our own for 127.0.0.1 (elliptic curve P-256), in cert.pem and key.pem."""
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
