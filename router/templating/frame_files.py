"""The files of frames, and which of them a layout stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import nodes

from router.problems import Problems, did_you_mean
from router.templating.environment import BUILT_IN, Environments
from router.templating.files import TemplateFile, split_by_tenant
from router.templating.fixed_text import PLACE
from router.templating.pieces import Draft, compile_text, draft_html
from router.templating.snippets import Field, Snippet, split_front_matter

CONTENT = "content"
"""Where a frame reads it, a mail's own HTML stands."""

FRAME = "frame"
"""The field of a mail's front matter that names its frame."""

NO_FRAME = "none"
_FILE = re.compile(r"email\.(?P<kind>html|mjml)")
_DOCUMENT = re.compile(r"<(?:!doctype|html|head|body|mjml|mj-head|mj-body)\b", re.IGNORECASE)
_PLACE = re.compile(r"\{\{-?\s*content\s*-?\}\}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One folder of ``templates/_frames``.

    Attributes:
        bodies: By tenant, then kind of file; under the empty name those of everybody else. None
            for a file with mistakes.
        texts: All of it by path, to see what has changed.
    """

    name: str
    bodies: Mapping[str, Mapping[str, Snippet | None]]
    texts: Mapping[str, str]

    @property
    def tenants(self) -> frozenset[str]:
        """Those that have one of their own."""
        return frozenset(self.bodies) - {""}

    def body(self, kind: str, tenant: str) -> Snippet | None:
        return {**self.bodies.get("", {}), **self.bodies.get(tenant, {})}.get(kind)

    @property
    def kinds(self) -> list[str]:
        """Kinds of file that it has, mistaken ones too."""
        return sorted(self.bodies.get("", {}))


Frames = Mapping[str, Frame]
"""By name."""

NO_FRAMES: Frames = {}


class NoFrame(Exception):
    """A layout's frame can't be used; what is wrong with it was told."""


def load_frame(
    name: str,
    files: Mapping[str, TemplateFile],
    problems: Problems,
    environments: Environments = BUILT_IN,
) -> Frame:
    """The frame made of a folder's files, by their paths inside it; mistakes go to ``problems``."""
    base, by_tenant = split_by_tenant(files)
    bodies: dict[str, Mapping[str, Snippet | None]] = {}
    for tenant, own in {"": base, **by_tenant}.items():
        found: dict[str, Snippet | None] = {}
        for path, file in own.items():
            if match := _FILE.fullmatch(path):
                found[match["kind"]] = _read(file, match["kind"], problems, environments)
            elif not path.endswith(".md"):
                message = f"{path} is no file of a frame; write email.html or email.mjml"
                problems.error("T103", message, file.start)
        bodies[tenant] = found
    for tenant, own in by_tenant.items():
        for kind in bodies[tenant].keys() - bodies[""].keys():
            at = own[f"email.{kind}"].start
            message = f'frame "{name}" has no email.{kind} for "{tenant}" to have its own of'
            problems.error("T107", message, at)
    return Frame(name, bodies, {path: file.text for path, file in files.items()})


def _read(
    file: TemplateFile, kind: str, problems: Problems, environments: Environments
) -> Snippet | None:
    before = len(problems.found)
    fields, body = split_front_matter(file.source, problems)
    for given in fields.values():
        message = "a frame has no front matter: it stands in the layouts"
        problems.error("T112", message, given.key_at)
    places = list(_PLACE.finditer(body.text))
    if len(places) != 1:
        message = f"a frame says {{{{ content }}}} once; this one does {len(places)} times"
        line = body.text.count("\n", 0, places[1].start()) + 1 if places else 1
        at = body.position(line, _PLACE.pattern if places else None)
        problems.error("T116", message, at)
    elif kind == "html":
        draft_frame(body, problems, environments)
    else:
        compile_text(body, problems, None, environments)
    return body if len(problems.found) == before else None


def draft_frame(body: Snippet, problems: Problems, environments: Environments) -> Draft | None:
    """An HTML frame, checked as HTML that the content stands in as elements do."""
    line = body.text.count("\n", 0, body.text.find(CONTENT)) + 1
    misplaced: list[str] = []

    def look(value: nodes.Expr, state: str) -> nodes.Expr:
        if _is_content(value) and state != "text":
            misplaced.append(state)
        return value

    draft = draft_html(body, problems, environments, look)
    if draft is None:
        return None
    at = body.position(line, _PLACE.pattern)
    reads = [n for n in draft.tree.find_all(nodes.Name) if _is_content(n)]
    if misplaced:
        problems.error("T116", "the content of a mail stands between tags, not in one", at)
    elif len(reads) != 1 or not _stands_free(draft.tree.body):
        message = "write {{ content }} by itself: outside of conditions, loops and filters"
        problems.error("T116", message, at)
    else:
        draft.tree.body = list(_with_place(draft.tree.body))
        return draft
    return None


def _stands_free(body: Sequence[nodes.Node]) -> bool:
    written = (child for node in body if isinstance(node, nodes.Output) for child in node.nodes)
    return any(_is_content(child) for child in written)


def _is_content(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == CONTENT


def _with_place(body: Sequence[nodes.Node]) -> Iterator[nodes.Node]:
    """The frame with fixed text in the place of the content, written by itself."""
    for node in body:
        index = -1
        if isinstance(node, nodes.Output):
            index = next((i for i, child in enumerate(node.nodes) if _is_content(child)), -1)
        if not isinstance(node, nodes.Output) or index < 0:
            yield node
            continue
        line = node.nodes[index].lineno
        place = nodes.TemplateData(PLACE, lineno=line)
        for part in (node.nodes[:index], [place], node.nodes[index + 1 :]):
            if part:
                yield nodes.Output(list(part), lineno=part[0].lineno)


def frame_of(
    named: Field | None,
    layout: Snippet,
    kind: str,
    frames: Frames,
    tenant: str,
    problems: Problems,
) -> Snippet | None:
    """The frame that a layout's front matter names; None where it names none.

    Raises:
        NoFrame: after a complaint.
    """
    name = named.snippet.text.strip() if named else NO_FRAME
    if named is None or name == NO_FRAME:
        return None
    at = named.snippet.position(1, re.escape(name))
    frame = frames.get(name)
    if frame is None:
        guess = did_you_mean(name, [*frames, NO_FRAME], "Frames")
        problems.error("T115", f'there is no frame "{name}".{guess}', at)
    elif kind not in frame.kinds:
        has = " and ".join(f"email.{k}" for k in frame.kinds) or "no file"
        message = f'email.{kind} needs a frame with an email.{kind}; "{name}" has {has}'
        problems.error("T115", message, at)
    elif whole := _DOCUMENT.search(layout.text):
        line = layout.text.count("\n", 0, whole.start()) + 1
        message = f'frame "{name}" has {whole[0]}> already: leave it out, or write frame: none'
        problems.error("T117", message, layout.position(line, re.escape(whole[0])))
    elif body := frame.body(kind, tenant):
        return body
    raise NoFrame


def spliced(frame: Snippet, content: Snippet) -> Snippet:
    """A frame and its content as one text, for what reads them as one; places are the content's."""
    before, after = _PLACE.split(frame.text)
    return Snippet(before + content.text + after, content.source, content.starts)
