"""Images by their addresses: fetched from the public Internet, or from hosts that the settings name.

The servers are real and on loopback, so they are named in the settings where they may be reached. Names are answered
by the tests.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import pickle
import re
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Images
from farthing.core.errors import FlowInputError
from farthing.flows.connections.connections import Connections
from farthing.flows.models import Models, Spent
from farthing.flows.open import open_flow
from farthing.flows.prompts.fetch import MAX_IMAGES, ImageFetcher
from farthing.flows.prompts.images import Image, image_of
from farthing.testing.server import Peer, serving
from farthing.wire.upstream import dial
from farthing.wire.upstream.resolve import Address
from tests.wire.upstream.certificates import Authority

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LOOPBACK: Address = (int(socket.AF_INET), "127.0.0.1")
PUBLIC: Address = (int(socket.AF_INET), "93.184.215.14")


class Names:
    """A name server. answers: for the lookups in their order, the last one for all later ones."""

    def __init__(self, *answers: list[Address]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def picture(peer: Peer) -> None:
    await peer.answer(PNG, kind="image/png")


def rules(*hosts: str, **more: Any) -> Images:
    return Images(allowed_hosts=hosts, **{"timeout_s": 5.0, **more})


async def fetch(fetcher: ImageFetcher, url: str, *more: str) -> Image:
    """The image of an input that the URL is for."""
    value = [image_of(each, Path()) for each in (url, *more)]
    found = await fetcher.fetched({"other": 1, "photo": {"deep": value}})
    assert found["other"] == 1
    image: Image = found["photo"]["deep"][0]
    return image


async def refusal(fetcher: ImageFetcher, url: str) -> str:
    """Why it is not fetched; the error names the input and hides what is secret."""
    with pytest.raises(FlowInputError) as caught:
        await fetch(fetcher, url)
    error = caught.value
    assert error.param == "photo"
    assert "'photo'" in error.message
    assert "secret" not in error.message
    assert "images.allowed_hosts" in (error.hint or "")
    return error.message


# --- what is fetched ---


async def test_an_image_has_its_bytes_and_keeps_its_address_for_the_model() -> None:
    async with serving(picture) as server:
        url = f"{server.url}/a%20b.png?sig=secret"
        image = await fetch(ImageFetcher(rules(f"127.0.0.1:{server.port}")), url)
    assert (bytes(image), image.mime_type, image.url) == (PNG, "image/png", url)
    assert str(image) == str(Image(PNG))
    (asked,) = server.asked
    assert asked.line == "GET /a%20b.png?sig=secret HTTP/1.1"
    assert set(asked.headers) == {"host", "accept", "user-agent", "accept-encoding"}


async def test_an_address_that_comes_twice_is_fetched_once_and_what_has_bytes_never() -> None:
    async with serving(picture) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        await fetch(fetcher, f"{server.url}/a", f"{server.url}/a", f"{server.url}/b")
        assert sorted(each.line[5] for each in server.asked) == ["a", "b"]
        given = {
            "x": Image(PNG, None, f"{server.url}/c"),
            "y": "http://no.image",
            "z": [Image(b"")],
        }
        assert await fetcher.fetched(given) == given
    assert len(server.asked) == 2


async def test_a_type_that_the_flow_says_stays_and_one_that_it_does_not_is_looked_up() -> None:
    async with serving(picture) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        for key, kind in (("data:image/gif;url", "image/gif"), ("data:image/*;url", "image/png")):
            found = await fetcher.fetched({"x": image_of({key: server.url}, Path())})
            assert found["x"].mime_type == kind


async def test_over_tls_the_certificate_must_be_the_hosts() -> None:
    authority, names = Authority(), Names([LOOPBACK])
    async with authority.serving("files.example", picture) as server:
        allowed = rules(f"files.example:{server.port}", f"other.example:{server.port}")
        trusting = ImageFetcher(allowed, lookup=names, tls=authority.trust)
        url = f"https://files.example:{server.port}/a.png"
        assert await fetch(trusting, url) == PNG
        assert server.asked_names == ["files.example"]
        other = f"https://other.example:{server.port}/a.png"
        assert "certificate" in await refusal(trusting, other)
        assert "certificate" in await refusal(ImageFetcher(allowed, lookup=names), url)


@pytest.mark.parametrize("kind", ["image/jpeg; x=1", "application/octet-stream", ""])
async def test_the_bytes_say_what_it_is_when_the_store_does_not_know(kind: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(PNG, kind=kind)

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        assert (await fetch(fetcher, server.url)).mime_type == "image/png"


async def test_redirects_are_followed_a_few_times() -> None:
    async def script(peer: Peer) -> None:
        left = int(peer.asked.line.split()[1][1:])
        if left:
            await peer.answer(b"", status="302 Found", more=f"Location: /{left - 1}\r\n")
        else:
            await picture(peer)

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        image = await fetch(fetcher, f"{server.url}/5")
        assert (image, image.url) == (PNG, f"{server.url}/5")
        assert "more than 5 times" in await refusal(fetcher, f"{server.url}/6")


async def test_its_rules_go_with_it_to_another_process() -> None:
    async with serving(picture) as server:
        allowed = rules(f"127.0.0.1:{server.port}", use_proxy=True)
        there = pickle.loads(pickle.dumps(ImageFetcher(allowed, environ=os.environ)))
        assert await fetch(there, server.url) == PNG


# --- which hosts ---


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1/a", "of this machine"),
        ("http://localhost/a", "of this machine"),
        ("http://LOCALHOST./a", "this machine|cannot be reached"),
        ("http://[::1]/a", "of this machine"),
        ("http://[::]/a", "of this machine"),
        ("http://0.0.0.0/a", "of this machine"),
        ("http://0/a", "of this machine|cannot be reached"),
        ("http://2130706433/a", "of this machine|cannot be reached"),
        ("http://0x7f.1/a", "of this machine|cannot be reached"),
        ("http://0177.0.0.1/a", "of this machine|cannot be reached"),
        ("http://127.1/a", "of this machine|cannot be reached"),
        ("http://[::ffff:127.0.0.1]/a", "of this machine"),
        ("http://[::ffff:7f00:1]/a", "of this machine"),
        ("http://[64:ff9b::a9fe:a9fe]/a", "link-local"),
        ("http://[2002:7f00:1::]/a", "reserved"),
        ("http://[fd00:ec2::254]/latest/meta-data", "private"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://168.63.129.16/metadata", "a cloud's inner one"),
        ("http://100.100.100.200/latest", "shared"),
        ("http://10.1.2.3/a", "private"),
        ("http://192.168.0.1/a", "private"),
        ("http://224.0.0.1/a", "many at once"),
        ("http://\u2460\u2461\u2466.0.0.1/a", "this machine|cannot be reached"),
        ("http://ⓛocalhost/a", "of this machine|cannot be reached"),
        ("http://example.com:22/a", "port 22"),
        ("https://example.com:8443/a", "port 8443"),
        ("http://user:secret@example.com/a", "name or password"),
        ("http://secret@127.0.0.1/a", "name or password"),
        ("http://example.com:99999/a", "not complete"),
        ("http://a\u0000b/a", "no host|not complete"),
        ("http://exa mple/a", "no host"),
        ("http://[fe80::1%25eth0]/a", "no host|link-local|not complete"),
        ("http://" + "a" * 300 + "/a", "no host|not complete"),
    ],
)
async def test_an_address_that_leads_inside_is_refused(url: str, why: str) -> None:
    assert re.search(why, await refusal(ImageFetcher(rules(timeout_s=3.0)), url))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "gopher://x.example:70/1",
        "ftp://x.example/a.png",
    ],
)
def test_other_schemes_are_no_addresses_of_images(url: str) -> None:
    for value in ({"data:image/png;url": url}, {"type": "image_url", "image_url": {"url": url}}):
        with pytest.raises(FlowInputError, match=r"neither http nor https|cannot be read"):
            image_of(value, Path())


async def test_a_name_with_one_address_inside_is_refused_and_nobody_is_called() -> None:
    async with serving(picture) as server:
        names = Names([PUBLIC, LOOPBACK])
        assert "of this machine" in await refusal(
            ImageFetcher(rules(), lookup=names), "http://images.example/a"
        )
    assert server.connections == 0


async def test_the_connection_goes_to_the_address_that_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    went: list[tuple[Address, int]] = []
    really = dial._connected

    async with serving(picture) as server:

        async def connected(address: Address, port: int) -> socket.socket:
            # Nothing outside is reached: what would go there goes to the test's server.
            went.append((address, port))
            return await really(LOOPBACK, server.port)

        monkeypatch.setattr(dial, "_connected", connected)
        # Public when it is looked at, this machine a moment later.
        names = Names([PUBLIC], [LOOPBACK])
        fetcher = ImageFetcher(rules(), lookup=names)
        assert await fetch(fetcher, "http://rebind.example/a.png") == PNG
        assert went == [(PUBLIC, 80)]
        assert names.asked == ["rebind.example"]
        assert server.asked[0].headers["host"] == "rebind.example"
        # The next line asks again, and hears the truth.
        assert "of this machine" in await refusal(fetcher, "http://rebind.example/a.png")
        assert len(went) == 1


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://127.0.0.1/a", "of this machine"),
        ("http://169.254.169.254/latest?secret", "link-local"),
        ("//10.0.0.1/a", "private"),
        ("http://user:secret@files.example/a", "name or password"),
        ("http://files.example:25/a", "port 25"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "only http and https"),
        ("javascript:alert(1)", "only http and https"),
        ("http://[::1", "cannot be read"),
        ("http://files.example/\udcff\ud800", "cannot be|status"),
    ],
)
async def test_each_redirect_is_looked_at_like_the_first_address(to: str, why: str) -> None:
    async def script(peer: Peer) -> None:
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
        await peer.say(head + to.encode("utf-8", "surrogatepass") + b"\r\n\r\n")

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"), lookup=Names([(2, "10.0.0.1")]))
        told = await refusal(fetcher, f"{server.url}/a")
    assert re.search(why, told), told
    assert server.connections == 1


async def test_a_redirect_by_name_is_judged_by_a_lookup_of_its_own() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"", status="301 Moved", more="Location: http://inside.example/x\r\n")

    async with serving(script) as server:
        names = Names([LOOPBACK])
        fetcher = ImageFetcher(rules(f"out.example:{server.port}"), lookup=names)
        told = await refusal(fetcher, f"http://out.example:{server.port}/a")
    assert "leads on to http://inside.example/x; its host has an address" in told
    assert names.asked == ["out.example", "inside.example"]


@pytest.mark.parametrize(
    ("allowed", "is_allowed"),
    [
        ("files.example:PORT", True),
        ("FILES.example:PORT", True),
        ("*.example:PORT", True),
        ("files.example", False),
        ("files.example:1", False),
        ("example:PORT", False),
        ("*.files.example:PORT", False),
        ("[::1]:PORT", False),
    ],
)
async def test_hosts_of_the_settings_are_fetched_from_on_the_port_they_say(
    allowed: str, is_allowed: bool
) -> None:
    async with serving(picture) as server:
        url = f"http://files.example:{server.port}/a"
        entry = allowed.replace("PORT", str(server.port))
        fetcher = ImageFetcher(rules(entry), lookup=Names([LOOPBACK]))
        if is_allowed:
            assert await fetch(fetcher, url) == PNG
        else:
            assert "port" in await refusal(fetcher, url)


async def test_a_proxy_is_used_only_when_the_settings_say_so() -> None:
    async with serving(picture) as proxy:
        environ = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url}
        inside = Names([LOOPBACK])
        ignoring = ImageFetcher(rules(), environ=environ, lookup=inside)
        assert "of this machine" in await refusal(ignoring, "http://images.example/a")
        using = ImageFetcher(rules(use_proxy=True), environ=environ, lookup=inside)
        assert "of this machine" in await refusal(using, "http://images.example/a")
        assert proxy.connections == 0

        async def unknown(host: str) -> list[Address]:
            raise OSError(-2, "name not known")

        for lookup in (Names([PUBLIC]), unknown):
            using = ImageFetcher(rules(use_proxy=True), environ=environ, lookup=lookup)
            assert await fetch(using, "http://images.example/a?b=1") == PNG
    assert {each.line for each in proxy.asked} == {"GET http://images.example/a?b=1 HTTP/1.1"}


# --- bounds ---


@pytest.mark.parametrize("is_told", [True, False])
async def test_more_bytes_than_allowed_are_not_read(is_told: bool) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
        size = f"Content-Length: {10**12}\r\n" if is_told else "Connection: close\r\n"
        await peer.say((head + size + "\r\n").encode() + PNG)
        for _ in range(10_000):
            await peer.say(b"x" * 10_000)
            sent += 10_000

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}", max_bytes=100_000))
        assert "more than 100,000 bytes" in await refusal(fetcher, server.url)
    assert sent < 50_000_000


async def test_a_body_that_swells_is_not_unpacked() -> None:
    bomb = gzip.compress(PNG + b"\0" * 60_000_000)

    async def script(peer: Peer) -> None:
        await peer.answer(bomb, kind="image/png", more="Content-Encoding: gzip\r\n")

    async with serving(script) as server:
        host = f"127.0.0.1:{server.port}"
        small = ImageFetcher(rules(host, max_bytes=1_000_000))
        assert "more than 1,000,000 bytes" in await refusal(small, server.url)
        boundless = ImageFetcher(rules(host, max_bytes=10**12))
        assert "swells" in await refusal(boundless, server.url)


async def test_a_slow_drip_ends_with_its_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        )
        while True:
            await peer.say(b"x")
            await asyncio.sleep(0.02)

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}", timeout_s=0.3))
        assert "long" in await refusal(fetcher, server.url)


async def test_a_server_that_says_nothing_ends_with_the_time_of_the_line() -> None:
    async def script(peer: Peer) -> None:
        await peer.hung_up()

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}", timeout_s=0.2))
        more = [f"{server.url}/{number}" for number in range(20)]
        with pytest.raises(FlowInputError, match="long"):
            await asyncio.wait_for(fetch(fetcher, server.url, *more), 2.0)
        for _ in range(50):
            if server.open_now:
                await asyncio.sleep(0.01)
        assert server.open_now == 0


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (PNG, "text/html", "text/html, no image"),
        (b"<svg onload='x()'/>", "image/svg+xml", "there is no image"),
        (b"root:x:0:0:secret", "image/png", "there is no image"),
        (b"", "image/png", "there is no image"),
        (b'{"secret": 1}', "", "there is no image"),
    ],
)
async def test_what_is_no_image_is_refused(body: bytes, kind: str, why: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(body, kind=kind)

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        assert why in await refusal(fetcher, f"{server.url}/a?secret#secret")


async def test_answers_that_are_none_are_told() -> None:
    statuses = {"/404": "404 Not Found", "/304": "304 Not Modified", "/302": "302 Found"}

    async def script(peer: Peer) -> None:
        path = peer.asked.line.split()[1]
        if path in statuses:
            await peer.answer(b"secret", status=statuses[path])
        elif path == "/cut":
            await peer.say(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nx"
            )
            peer.writer.close()
        elif path == "/brotli":
            await peer.answer(b"x", kind="image/png", more="Content-Encoding: br\r\n")
        else:
            await peer.say(b"SSH-2.0-secret\r\n")
            peer.writer.close()

    async with serving(script) as server:
        fetcher = ImageFetcher(rules(f"127.0.0.1:{server.port}"))
        for path in statuses:
            assert f"status {path[1:]}" in await refusal(fetcher, server.url + path)
        assert "breaks off" in await refusal(fetcher, f"{server.url}/cut")
        assert "compression is unknown" in await refusal(fetcher, f"{server.url}/brotli")
        assert "not HTTP" in await refusal(fetcher, f"{server.url}/ssh")
        nobody = ImageFetcher(rules("127.0.0.1:9"))
        assert "cannot be reached" in await refusal(nobody, "http://127.0.0.1:9/a")


async def test_a_line_has_so_many_images_and_no_more() -> None:
    images = [image_of(f"http://a.example/{number}", Path()) for number in range(MAX_IMAGES + 1)]
    with pytest.raises(FlowInputError, match=f"{MAX_IMAGES} at most"):
        await ImageFetcher().fetched({"photos": images})


# --- in a flow ---

FLOW = {
    "flow.dag.yaml": """
inputs:
  photo: {type: image, default: URL}
  chat: {type: list, default: [{"data:image/png;url": URL}, What?]}
outputs:
  size: {type: int, reference: "${size.output}"}
  answer: {type: string, reference: "${ask.output}"}
nodes:
- {name: size, type: python, source: {type: code, path: size.py}, inputs: {photo: "${inputs.photo}"}}
- name: ask
  type: llm
  api: chat
  source: {type: code, path: ask.jinja2}
  inputs: {deployment_name: m, photo: "${inputs.photo}", chat: "${inputs.chat}"}
""",
    "size.py": """
from farthing.flows.code.tool import node

@node
def size(photo: object) -> int:
    return len(photo)
""",
    "ask.jinja2": "user:\nThis is {{ photo }}.\n![image]({{ photo }})\n{% for each in chat %}{{ each }}\n{% endfor %}",
}


class Heard(Models):
    """Models that keep what they were asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        self.bodies.append(body)
        return {"choices": [{"message": {"content": "ok"}}]}

    def stream(self, api: str, body: dict[str, Any], spent: Spent) -> AsyncGenerator[str, None]:
        raise NotImplementedError  # nothing here streams


async def test_a_function_gets_the_bytes_and_the_model_the_address(tmp_path: Path) -> None:
    heard = Heard()
    async with serving(picture) as server:
        url = f"{server.url}/logo.png"
        for name, text in FLOW.items():
            (tmp_path / name).write_text(text.replace("URL", json.dumps(url)))
        flow = open_flow(
            tmp_path,
            models=heard,
            connections=Connections(tmp_path, environ={}),
            clock=SystemClock(),
            images=ImageFetcher(rules(f"127.0.0.1:{server.port}")),
        )
        result = await flow.run({})
        await flow.aclose()
    assert result.error is None
    assert result.outputs == {"size": len(PNG), "answer": "ok"}
    shown = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
    # What stands in a text is named by its bytes, as the original does.
    named = {"type": "text", "text": f"This is {Image(PNG)}."}
    said = {"type": "text", "text": "What?"}
    assert heard.bodies[0]["messages"][0]["content"] == [named, shown, shown, said]
    assert len(server.asked) == 1


async def test_without_a_word_in_the_settings_a_flow_fetches_nothing_inside(tmp_path: Path) -> None:
    async with serving(picture) as server:
        for name, text in FLOW.items():
            (tmp_path / name).write_text(text.replace("URL", json.dumps(f"{server.url}/logo.png")))
        flow = open_flow(
            tmp_path,
            models=Heard(),
            connections=Connections(tmp_path, environ={}),
            clock=SystemClock(),
        )
        result = await flow.run({})
        await flow.aclose()
    assert isinstance(result.error, FlowInputError)
    assert "port" in result.error.message
    assert server.connections == 0
