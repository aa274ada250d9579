"""Images: the forms that files have for them, what they print as, and how they are written back."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import pytest

from farthing.core.errors import FlowInputError
from farthing.flows.graph import Flow, Input
from farthing.flows.prompts.chat import parse_chat
from farthing.flows.prompts.images import Image, image_of, load_inputs, with_images, without_images

PNG = b"\x89PNG\r\n\x1a\n and more"
TEXT = base64.b64encode(PNG).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize(
    "value",
    [
        {"data:image/png;path": "a.png"},
        {"data:image/png;base64": TEXT},
        {"data:image/*;path": "a.png"},
        {"type": "image_file", "image_file": {"path": "a.png"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
        f"data:image/png;base64,{TEXT}",
        "a.png",
    ],
)
def test_each_form_gives_the_same_bytes(folder: Path, value: Any) -> None:
    found = image_of(value, folder)
    assert found == PNG
    assert found.to_base64() == TEXT
    assert found.source_url is None
    assert image_of(found, folder) is found


def test_an_image_prints_as_the_beginning_of_its_digest() -> None:
    assert str(Image(b"hello")) == "Image(aaf4c61d)"
    assert repr([Image(b"hello")]) == "[Image(aaf4c61d)]"


def test_the_type_is_read_from_the_bytes_unless_it_is_said() -> None:
    assert Image(PNG).mime_type == "image/png"
    assert Image(b"\xff\xd8\xff\xe0").mime_type == "image/jpeg"
    assert Image(b"no image").mime_type == "image/*"
    assert Image(PNG, "Image/GIF").mime_type == "image/gif"
    assert Image(PNG).to_base64(with_type=True) == f"data:image/png;base64,{TEXT}" == Image(PNG).url


def test_a_url_stays_one_and_is_not_fetched(folder: Path) -> None:
    found = image_of({"data:image/png;url": "https://unreachable.invalid/a.png"}, folder)
    assert found.url == found.source_url == "https://unreachable.invalid/a.png"
    assert str(found) != str(image_of("https://unreachable.invalid/b.png", folder))


def test_an_image_in_a_prompt_becomes_a_part_of_its_message() -> None:
    image = Image(PNG)
    messages = parse_chat(f"user:\nlook\n{image}\n", [image])
    assert messages[0]["content"][1]["image_url"]["url"] == image.url


@pytest.mark.parametrize(
    "value", [3, "", {"a": 1}, {"data:image/png;base64": "%%%"}, {"data:image/png;path": "no.png"}]
)
def test_what_is_no_image_is_told_with_the_forms_that_are(folder: Path, value: Any) -> None:
    with pytest.raises(FlowInputError, match="data:image/png;path"):
        image_of(value, folder)


def test_images_are_found_at_any_depth_in_the_form_of_the_flow(folder: Path) -> None:
    basic = {"data:image/png;path": "a.png"}
    vision = {"type": "image_file", "image_file": {"path": "a.png"}}
    value = {"x": ["text", basic, vision]}
    assert with_images(value, folder) == {"x": ["text", Image(PNG), vision]}
    assert with_images(value, folder, "openai-vision") == {"x": ["text", basic, Image(PNG)]}


def test_the_inputs_of_a_line_are_loaded_by_their_types(folder: Path) -> None:
    kinds = {"picture": "image", "pictures": "list", "said": "string"}
    flow = Flow(
        name="f", folder=folder, inputs=tuple(Input(name=n, kind=k) for n, k in kinds.items())
    )
    given = {"data:image/png;path": "a.png"}
    taken = load_inputs(flow, {"picture": given, "pictures": [given], "said": given, "more": 1})
    assert taken == {"picture": PNG, "pictures": [PNG], "said": given, "more": 1}


def test_what_is_written_is_read_again(folder: Path) -> None:
    for image in (Image(PNG), Image(b"", "image/png", "https://x.example/a.png")):
        for form in ("basic", "openai-vision"):
            written = without_images({"a": [image]}, form)  # type: ignore[arg-type]
            again = with_images(written, folder, form)["a"][0]  # type: ignore[arg-type]
            assert (again, again.url) == (image, image.url)
    kept = without_images(Image(PNG), keep=lambda image: "a.png")
    assert kept == {"data:image/png;path": "a.png"}


def test_an_image_survives_being_sent_to_another_process() -> None:
    image = Image(PNG, "image/gif", "https://x.example")
    again = pickle.loads(pickle.dumps(image))
    assert (again, again.mime_type, again.url) == (image, "image/gif", "https://x.example")


def test_an_image_in_a_default_is_read_as_a_given_one_is(folder: Path) -> None:
    picture = {"data:image/png;base64": base64.b64encode(PNG).decode()}
    asked = Input(name="question", kind="list", default=[picture, "What?"], has_default=True)
    taken = load_inputs(Flow(name="f", folder=folder, inputs=(asked,)), {})
    assert isinstance(taken["question"][0], Image)
    assert taken["question"][1] == "What?"
