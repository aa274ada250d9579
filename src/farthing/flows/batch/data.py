"""The data of a batch: JSONL, CSV, TSV, JSON or Parquet files, or a folder of them, read row by row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from farthing.core.errors import FlowInputError, did_you_mean

#: The longest field of a CSV or TSV file, characters. Python's own limit is too low for documents.
MAX_FIELD = 64 * 1024 * 1024
#: Bytes that are read at once for a digest.
_CHUNK = 1 << 20
_IMAGE_PATH = re.compile(r"data:image/[^;]+;path")


class Row(msgspec.Struct, frozen=True):
    """One row. line: in its file, from 1 (of a Parquet file and of JSON: the number of the row)."""

    path: str
    line: int
    values: dict[str, Any]


def read(source: Path) -> Iterator[Row]:
    """The rows of a file, or of all files in a folder, by name, those of its own level first.

    JSONL, CSV and TSV are read as a stream. The values of CSV and TSV stay texts. A file with another ending
    is taken for JSONL when it is named itself, and passed over in a folder. Relative paths of images
    become absolute, as they are meant from the data file. Raises FlowInputError, also while rows are read.
    """
    if not source.exists():
        raise FlowInputError(
            f"There is no data at {source}.",
            hint=_beside(source) or "Paths are meant from the file that names them.",
            param="data",
        )
    for path in files(source):
        yield from _READERS.get(path.suffix.lower(), _jsonl)(path)


def files(source: Path) -> list[Path]:
    """The data files that a path stands for. Raises FlowInputError: a folder without any."""
    if source.is_file():
        return [source]
    level, found = [source], []
    while level:
        entries = sorted(each for folder in level for each in folder.iterdir())
        visible = [each for each in entries if not each.name.startswith(".")]
        found += [each for each in visible if each.is_file() and each.suffix.lower() in _READERS]
        level = [each for each in visible if each.is_dir() and not each.is_symlink()]
    if not found:
        raise FlowInputError(
            f"The folder {source} holds no data.",
            hint=f"Put files in it that end with {', '.join(_READERS)}.",
            param="data",
        )
    return found


def digest(source: Path) -> str:
    """What tells this data from data that was changed: 128 bits, as hex. Raises FlowInputError."""
    total = blake2b(digest_size=16)
    for path in files(source) if source.exists() else ():
        try:
            with path.open("rb") as file:
                total.update(b"%d\n" % path.stat().st_size)
                while piece := file.read(_CHUNK):
                    total.update(piece)
        except OSError as error:
            raise _unreadable(path, error) from error
    return total.hexdigest()


# --- each format ---


def _jsonl(path: Path) -> Iterator[Row]:
    decoder = msgspec.json.Decoder()
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, 1):
                if line == 1 and text.startswith(b"\xef\xbb\xbf"):
                    text = text[3:]  # noqa: PLW2901 -- a byte order mark is no part of the text
                if text.isspace():
                    continue
                values = _decode(decoder, text, path, line)
                if not isinstance(values, dict):
                    raise _wrong(path, line, f"is a JSON {_kind(values)} and no object")
                yield Row(str(path), line, _placed(values, path, text))
    except OSError as error:
        raise _unreadable(path, error) from error


def _decode(decoder: msgspec.json.Decoder[Any], text: bytes, path: Path, line: int) -> Any:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Files that Python wrote may hold NaN and Infinity, which are no JSON.
        return json.loads(text)
    except UnicodeDecodeError:
        raise _wrong(path, line, "is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "it cannot be read")
        column = getattr(error, "colno", None)
        place = f" at column {column}" if column else ""
        raise _wrong(path, line, f"is not JSON: {reason}{place}") from None


def _separated(separator: str) -> Callable[[Path], Iterator[Row]]:
    def rows(path: Path) -> Iterator[Row]:
        csv.field_size_limit(MAX_FIELD)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=separator)
                yield from _records(reader, path)
        except OSError as error:
            raise _unreadable(path, error) from error

    return rows


def _records(reader: Any, path: Path) -> Iterator[Row]:
    """The rows behind the head. reader: of the module csv; a record may span lines, named is the first."""
    names: list[str] | None = None
    line = 1
    try:
        for fields in reader:
            first, line = line, reader.line_num + 1
            if not fields:
                continue
            if names is None:
                names = fields
                twice = sorted({name for name in names if names.count(name) > 1})
                if twice:
                    raise _wrong(path, first, f"names the column '{twice[0]}' twice")
                continue
            if len(fields) > len(names):
                raise _wrong(path, first, f"has {len(fields)} fields for {len(names)} columns")
            # A row that is too short has nothing in its last columns, as spreadsheets write it.
            padded = fields + [""] * (len(names) - len(fields))
            yield Row(str(path), first, dict(zip(names, padded, strict=True)))
    except UnicodeDecodeError:
        raise _wrong(path, line, "is not UTF-8") from None
    except csv.Error as error:
        raise _wrong(path, line, f"cannot be read: {error}") from None


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or an object of columns (each a list, or values by row, as pandas writes them)."""
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise _unreadable(path, error) from error
    if not text or text.isspace():
        return
    try:
        found = json.loads(text)
    except UnicodeDecodeError:
        raise FlowInputError(f"{path} is not UTF-8.", param="data") from None
    except (ValueError, RecursionError) as error:
        line, reason = getattr(error, "lineno", 1), getattr(error, "msg", "it cannot be read")
        raise _wrong(path, line, f"is not JSON: {reason}") from None
    rows = _of_columns(found, path) if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise FlowInputError(
            f"{path} is a JSON {_kind(found)}.", hint="Make it a list of objects.", param="data"
        )
    for number, values in enumerate(rows, 1):
        if not isinstance(values, dict):
            raise FlowInputError(
                f"Row {number} of {path} is a JSON {_kind(values)} and no object.",
                hint="Each row is an object of column names and values.",
                param="data",
            )
        yield Row(str(path), number, _placed(values, path, text))


def _of_columns(found: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    columns = list(found.values())
    if all(isinstance(each, list) for each in columns):
        keys: list[Any] = list(range(max(map(len, columns), default=0)))
        is_even = all(len(each) == len(keys) for each in columns)
    else:
        keys = list(columns[0]) if isinstance(columns[0], dict) else []
        is_even = all(isinstance(each, dict) and list(each) == keys for each in columns)
    if not is_even:
        raise FlowInputError(
            f"{path} is one JSON object whose values are no columns of one length.",
            hint="Make it a list of objects, one for each row.",
            param="data",
        )
    return [{name: found[name][key] for name in found} for key in keys]


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,unused-ignore]
        from pyarrow.lib import ArrowException  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise FlowInputError(
            f"{path} is a Parquet file, and what reads these is not installed.",
            hint="pip install pyarrow",
            param="data",
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(str(path), number, values)
    except (OSError, ArrowException) as error:
        raise FlowInputError(
            f"{path} cannot be read as Parquet behind its row {number} ({type(error).__name__}).",
            hint="Is it whole, and written as Parquet?",
            param="data",
        ) from error


_READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".json": _json,
    ".parquet": _parquet,
}


# --- images ---


def _placed(values: dict[str, Any], path: Path, text: bytes) -> dict[str, Any]:
    """The row with its images' relative paths made absolute. text: what it came from."""
    if b"data:image/" not in text and b"image_file" not in text:
        return values
    folder = path.parent.resolve()
    return {name: _with_places(value, folder) for name, value in values.items()}


def _with_places(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_with_places(each, folder) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "image_file" and isinstance(value.get("image_file"), dict):
        file = value["image_file"]
        if isinstance(file.get("path"), str):
            return {**value, "image_file": {**file, "path": str(folder / file["path"])}}
    return {
        key: str(folder / each)
        if isinstance(each, str) and _IMAGE_PATH.fullmatch(key)
        else _with_places(each, folder)
        for key, each in value.items()
    }


# --- errors ---


def _wrong(path: Path, line: int, what: str) -> FlowInputError:
    return FlowInputError(
        f"Line {line} of {path} {what}.", hint="Correct that line, or leave it out.", param="data"
    )


def _unreadable(path: Path, error: OSError) -> FlowInputError:
    return FlowInputError(f"{path} cannot be read: {error.strerror}.", param="data")


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _beside(path: Path) -> str | None:
    try:
        return did_you_mean(path.name, [each.name for each in path.parent.iterdir()])
    except OSError:
        return f"The folder {path.parent} does not exist."
