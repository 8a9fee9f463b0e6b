"""Tenants' own templates, frames and brands: what check, render and a dry run make of them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from router.config import load_project
from router.reloading import content_digest
from tests.contract.authoring.builders import ROUTER, write_project
from tests.contract.authoring.cli import run

TENANTS = (
    dedent(ROUTER)
    + """
brand: {name: Group}
tenants:
  by: data.tenant
  default: globex
  include: tenants/*.yaml
"""
)
LAYOUT = "---\nsubject: Thanks from {{ brand.name }}\n---\nTotal {{ total }}\n"
FILES = {
    "config/tenants/acme.yaml": "brand: {name: Acme}\n",
    "config/tenants/globex.yaml": "{}\n",
    "templates/note/@acme/email.txt": "Acme got {{ total }}\n",
}


def project(folder: Path, **more: str) -> Path:
    files = FILES | {path.replace("__", "/"): text for path, text in more.items()}
    return write_project(folder, router=TENANTS, layout=LAYOUT, more=files)


def test_a_template_is_shown_as_a_tenant_s_people_get_it(tmp_path: Path) -> None:
    config = project(tmp_path)

    general, acme = (
        run("render", "note", "-c", config, "--output", "json", *option).json["cases"]
        for option in ((), ("--tenant", "acme"))
    )

    assert [(c["tenant"], c["message"]["subject"], c["message"]["text"]) for c in general] == [
        (None, "Thanks from Group", "Total 5\n")
    ]
    assert [(c["tenant"], c["message"]["subject"], c["message"]["text"]) for c in acme] == [
        ("acme", "Thanks from Acme", "Acme got 5\n")
    ]


def test_an_unknown_tenant_is_told_with_the_nearest(tmp_path: Path) -> None:
    ran = run("render", "note", "-c", project(tmp_path), "--tenant", "acm")

    assert (ran.code, ran.err.strip()) == (
        2,
        'there is no tenant "acm". Did you mean "acme"? Tenants: acme, globex',
    )


def test_a_dry_run_shows_each_tenant_its_own_message(tmp_path: Path) -> None:
    config = project(tmp_path)
    for tenant, text in (("acme", "Acme got 5"), ("globex", "Total 5")):
        event = f'{{"type": "order.paid", "tenant": "{tenant}", "user": "u1", "total": 5}}'
        ran = run("dry-run", "-c", config, "-", stdin=event)

        assert text in ran.out, ran.err


def test_check_renders_each_sample_for_each_tenant_that_has_its_own(tmp_path: Path) -> None:
    config = project(tmp_path, **{"templates/note/@acme/email.txt": "{{ total|money }}"})

    ran = run("check", "-c", config)

    assert ran.code == 1
    assert "templates/note/@acme/email.txt:1:1: error" in ran.err
    assert "sample first, email, en, tenant acme" in ran.err
    assert ran.err.count("error T") == 1


def test_a_field_that_a_tenant_alone_reads_is_looked_for_in_the_samples(tmp_path: Path) -> None:
    layout = "{% if data.gift is defined %}{{ data.gift }}{% endif %}{{ total }}"
    ran = run("check", "-c", project(tmp_path, **{"templates/note/@acme/email.txt": layout}))

    assert 'no sample of "note" has data.gift' in ran.err


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("templates/_frames/plain/email.html", "<main>{{ content }}</main>"),
        ("templates/_frames/plain/@acme/email.html", "<b>{{ content }}</b>"),
        ("templates/note/@globex/email.txt", "Globex: {{ total }}\n"),
        ("templates/note/@acme/texts/en.txt", "hi: Hello\n"),
    ],
)
def test_a_change_in_a_frame_or_of_a_tenant_is_seen_and_changes_the_templates(
    tmp_path: Path, path: str, text: str
) -> None:
    html = "---\nframe: plain\nsubject: Thanks\n---\n<p>{{ total }}</p>"
    files = {
        "templates/_frames/plain/email.html": "<i>{{ content }}</i>",
        "templates/note/email.html": html,
    }
    config = write_project(
        tmp_path, router=TENANTS, layout="{{ total }} {{ brand.name }}", more=FILES | files
    )
    before = load_project(config).project
    assert before is not None
    seen = content_digest(before)

    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text, "utf-8")
    after = load_project(config).project

    assert content_digest(before) != seen
    assert after is not None
    assert after.part_hashes["templates"] != before.part_hashes["templates"]
    assert after.hash != before.hash


def test_a_frame_s_mistake_is_told_once_for_all_that_stand_in_it(tmp_path: Path) -> None:
    html = "---\nframe: plain\nsubject: Thanks\n---\n<p>{{ total }}</p>"
    described = "locales: {required: [en], default: en}\nvariables: {total: {type: integer}}\n"
    files = {"templates/_frames/plain/email.html": "<i>{{ content }}{{ t.foot }}{{ nam }}</i>"}
    for name in ("a", "b", "c"):
        files[f"templates/{name}/template.yaml"] = described
        files[f"templates/{name}/email.html"] = html
    ran = run("check", "-c", write_project(tmp_path, more=files))

    assert ran.err.count('unknown name "nam"') == 1
    assert [name for name in "abc" if f'of template "{name}"' in ran.err] == ["a", "b", "c"]


def test_a_tenant_that_an_environment_leaves_out_may_keep_its_templates(tmp_path: Path) -> None:
    overlay = {"config/env/dev.yaml": "tenants: {named: {acme: null}}\n"}
    own = {"templates/note/@acme/email.txt": "{{ brand.phone }} {{ total }}"}
    files = {"config/tenants/acme.yaml": "brand: {phone: '1'}\n"}
    ran = run("check", "-c", project(tmp_path, **(overlay | own | files)))

    assert (ran.code, ran.err) == (0, "")
