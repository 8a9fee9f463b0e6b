"""From the files of a template's folder to a :class:`Template`, with every mistake found."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from router.problems import Problems, Severity
from router.templating.environment import BUILT_IN, Environments
from router.templating.files import (
    TemplateFile,
    sort_files,
    sort_override,
    split_by_tenant,
)
from router.templating.frame_files import NO_FRAMES, Frame, Frames
from router.templating.limits import LIMITS, Limits
from router.templating.model import Sample, Template
from router.templating.parts import Surroundings
from router.templating.samples import parse_sample
from router.templating.settings import Settings, parse_settings
from router.templating.texts import catalogues, check_files, warn_unused
from router.templating.uses import Uses, check_wording
from router.templating.wording import (
    Wording,
    frames_of,
    framing_at,
    override_wording,
    read_wording,
)

_LAYOUT_NAMES = "email.html, push.txt, chat.html, webhook.json"


def load_template(
    name: str,
    files: Mapping[str, TemplateFile],
    problems: Problems,
    limits: Limits = LIMITS,
    environments: Environments = BUILT_IN,
    frames: Frames = NO_FRAMES,
) -> Template | None:
    """The template made of a folder's files, by their paths inside it.

    Args:
        files: ``template.yaml``, ``texts/ru.txt``, ``email.html``, ``email.kk.html``,
            ``samples/first.yaml`` …, and what tenants have of their own:
            ``@acme/texts/ru.txt``, ``@acme/email.html``. Markdown files and names that start
            with a dot are ignored.
        problems: Takes every mistake.
        environments: Those with further filters, if there are any.
        frames: Those that mails may stand in, mistaken ones too.

    Returns:
        None if there was an error.
    """
    general, by_tenant = split_by_tenant(files)
    about = general.get("template.yaml")
    if about is None or about.node is None:
        at = next(iter(files.values())).start if files else None
        problems.error("T101", f'template "{name}" has no template.yaml', at)
        return None
    before = _errors(problems)
    settings = parse_settings(about.node, problems)
    folder = sort_files(general, problems)
    surroundings = Surroundings(environments, frames)
    wording = read_wording(folder, settings, surroundings, problems)
    if not folder.layouts:
        problems.error("T106", f"no layout: write one of {_LAYOUT_NAMES}", about.start)
    uses = _checked(wording, settings, general, f'of template "{name}"', problems)
    samples = _samples(folder.samples, problems)
    if not wording.is_whole:
        return None
    if _errors(problems) > before:
        _warn_unused(wording, wording, settings, uses.texts, problems)
        return None
    template = Template(
        name=name,
        description=settings.description,
        owner=settings.owner,
        locales=settings.locales,
        variables=settings.variables,
        samples=samples,
        digest=_digest(files, frames_of(wording.files, frames)),
        at=about.node.at,
        layouts=wording.layouts,
        catalogues=catalogues(wording.texts, settings.locales),
        names=uses.names,
        brand=uses.brand,
        limits=limits,
    )
    tenants = _Tenants(template, wording, settings, surroundings, problems)
    own = {tenant: tenants.template(tenant, by_tenant) for tenant in tenants.names(by_tenant)}
    _warn_unused(wording, wording, settings, uses.texts | tenants.texts, problems)
    if _errors(problems) > before or None in own.values():
        return None
    return replace(template, tenants=own)


@dataclass(slots=True)
class _Tenants:
    """Makes tenants' own of a template.

    Attributes:
        texts: Keys of texts that they use.
    """

    base: Template
    wording: Wording
    settings: Settings
    surroundings: Surroundings
    problems: Problems
    texts: frozenset[str] = frozenset()

    def names(self, files: Mapping[str, Mapping[str, TemplateFile]]) -> list[str]:
        """Those that have something of their own, be it a frame."""
        frames = frames_of(self.wording.files, self.surroundings.frames)
        return sorted({*files, *(tenant for frame in frames for tenant in frame.tenants)})

    def template(
        self, tenant: str, files: Mapping[str, Mapping[str, TemplateFile]]
    ) -> Template | None:
        """The tenant's; None after a complaint."""
        before = _errors(self.problems)
        own = files.get(tenant, {})
        folder = sort_override(own, self.problems)
        surroundings = replace(self.surroundings, tenant=tenant)
        wording = override_wording(self.wording, folder, self.settings, surroundings, self.problems)
        uses = _checked(wording, self.settings, own, f'for tenant "{tenant}"', self.problems)
        self.texts |= uses.texts
        _warn_unused(wording, self.wording, self.settings, uses.texts, self.problems)
        if not wording.is_whole or _errors(self.problems) > before:
            return None
        return replace(
            self.base,
            layouts=wording.layouts,
            catalogues=catalogues(wording.texts, self.settings.locales),
            names=uses.names,
            brand=uses.brand,
        )


def _checked(
    wording: Wording,
    settings: Settings,
    own: Mapping[str, TemplateFile],
    label: str,
    problems: Problems,
) -> Uses:
    """Checks the words; a mistake in a file that others share tells whose words it is about."""
    found = Problems()
    check_files(wording.texts, settings.locales, settings.locale_at, found)
    uses = check_wording(wording, settings, found)
    names = {file.source.file for file in own.values()}
    about = framing_at(wording.files) or min((file.start for file in own.values()), default=None)
    for problem in found.found:
        if about and problem.at and problem.at.file not in names:
            problem = replace(problem, related=(*problem.related, (about, label)))
        problems.found.append(problem)
    return uses


def _warn_unused(
    wording: Wording, base: Wording, settings: Settings, used: Collection[str], problems: Problems
) -> None:
    if default := base.texts.get(settings.locales.default):
        for file in wording.own_texts.values():
            warn_unused(file, default, used, problems)


def _errors(problems: Problems) -> int:
    return sum(problem.severity is Severity.ERROR for problem in problems.found)


def _digest(files: Mapping[str, TemplateFile], frames: Iterable[Frame]) -> str:
    texts = {path: file.text for path, file in files.items()}
    for frame in frames:
        texts |= {f"_frames/{frame.name}/{path}": text for path, text in frame.texts.items()}
    content = hashlib.sha256()
    for path in sorted(texts):
        for part in (path, texts[path]):
            data = part.encode("utf-8", "surrogatepass")
            content.update(len(data).to_bytes(8, "big") + data)
    return content.hexdigest()


def _samples(files: Mapping[str, TemplateFile], problems: Problems) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for name, file in sorted(files.items()):
        if file.node is None:
            problems.error("T101", "a sample has to be YAML", file.start)
        elif sample := parse_sample(name, file.node, problems):
            samples.append(sample)
    return tuple(samples)
