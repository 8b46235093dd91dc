"""Every page of the built site: nothing from outside, no error, readable by everyone."""

import pytest
from e2e.markup import figure_problems, link_problems
from e2e.server import find_pages

pytestmark = pytest.mark.e2e

# Without a site there is one test that says so.
PAGES = find_pages() or ["index.html"]
every_page = pytest.mark.parametrize("path", PAGES)


def test_site_has_the_pages_of_its_kind(site):
    assert {"index.html", "book/intro.html", "genindex.html", "search.html", "404.html"} <= set(
        PAGES
    )


@every_page
def test_page_asks_no_other_host(inspection, path):
    assert inspection(path).outside_requests == []


@every_page
def test_page_finds_all_its_files(inspection, path):
    assert inspection(path).failed_requests == []


@every_page
def test_page_runs_without_errors(inspection, path):
    assert inspection(path).console_errors == []


@every_page
def test_mathematics_is_rendered(inspection, path):
    assert inspection(path).math == []


@every_page
@pytest.mark.parametrize("mode", ["light", "dark", "phone, dark"])
def test_page_is_accessible(inspection, path, mode):
    assert inspection(path).accessibility[mode] == []


@every_page
def test_page_fits_a_phone(inspection, path):
    assert inspection(path).overflow == []


@every_page
def test_inner_links_hold(site, path):
    assert list(link_problems(site, path)) == []


@every_page
def test_figures_have_caption_number_and_alternative_text(site, path):
    assert list(figure_problems(site, path)) == []
