"""Every zone is labelled where it is, nothing covers a label, and a sample lies in the zone that the method names."""

from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.plots import pentagon, triangle
from gateway.plots.diagram import METHODS, GasSample
from gateway.plots.pentagon import pentagon_svg
from gateway.plots.svg import Box, Canvas
from gateway.plots.triangle import triangle_svg
from gateway.plots.zones import TRACK_MAX, draw_track, draw_zones, inside, inside_px
from gateway.plots.zones import Sample as Placed
from models.dga.gases import Gases
from models.dga.zones import ZONES

SVG = "{http://www.w3.org/2000/svg}"
BORDER_PX = 0.6  # coordinates are written to a hundredth, zones meet at edges, and the pentagon's vertices are rounded
NAMES = sorted(ZONES)
# H2, CH4, C2H6, C2H4, C2H2: IEC TC10 database, inspected cases; the worked example of Duval and Lamarre, 2014.
CASES = {
    "PD": (32930, 2397, 157, 0, 0),
    "D1": (305, 100, 33, 161, 541),
    "D2": (210, 43, 12, 102, 187),
    "T2": (1270, 3450, 520, 1390, 8),
    "T3": (6709, 10500, 1400, 17700, 750),
    "T1": (31, 192, 130, 31, 0),
}
amounts = st.floats(0, 1e5).map(lambda value: round(value, 2))


def gases(h2, ch4, c2h6, c2h4, c2h2):
    return Gases(h2_ul_l=h2, ch4_ul_l=ch4, c2h6_ul_l=c2h6, c2h4_ul_l=c2h4, c2h2_ul_l=c2h2)


def drawn(name, samples):
    draw = triangle_svg if "triangle" in name else pentagon_svg
    return ET.fromstring(draw(name, samples))


def shapes(root, zone):
    return [points(shape) for shape in root.iter(f"{SVG}polygon") if shape.get("data-zone") == zone]


def points(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def place(element, x="x", y="y"):
    return float(element.get(x)), float(element.get(y))


def texts(root):
    return list(root.iter(f"{SVG}text"))


def box(text):
    if text.get("text-anchor") == "start":
        half = Box.around((0, 0), text.text, text.get("class")).right
        return Box.around((place(text)[0] + half, place(text)[1]), text.text, text.get("class"))
    return Box.around(place(text), text.text, text.get("class"))


@pytest.mark.parametrize("name", NAMES)
def test_every_zone_is_drawn_and_labelled(plain, name):
    root = plain[name]
    labels = [text.get("data-label") for text in texts(root) if text.get("data-label")]
    polygons = [shape.get("data-zone") for shape in root.iter(f"{SVG}polygon") if shape.get("data-zone")]
    expected = [str(zone) for zone, parts in ZONES[name].zones.items() for _ in parts]
    assert sorted(polygons) == sorted(expected)
    assert sorted(labels) == sorted(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_label_or_the_line_to_it_begins_inside_its_zone(plain, name):
    root = plain[name]
    led = {line.get("data-leader"): points(line)[0] for line in root.iter(f"{SVG}polyline") if line.get("data-leader")}
    for text in texts(root):
        zone = text.get("data-label")
        anchor = led.get(zone, place(text)) if zone else None
        assert zone is None or any(inside(anchor, shape) for shape in shapes(root, zone)), zone


@pytest.mark.parametrize("name", NAMES)
def test_a_label_inside_a_zone_fits_into_it(plain, name):
    root = plain[name]
    led = {line.get("data-leader") for line in root.iter(f"{SVG}polyline")}
    inner = [text for text in texts(root) if text.get("data-label") and text.get("data-label") not in led]
    assert len(inner) >= 4
    for text in inner:
        fitting = [
            all(inside(corner, shape) for corner in box(text).corners) for shape in shapes(root, text.get("data-label"))
        ]
        assert any(fitting), text.text


@pytest.mark.parametrize("name", NAMES)
def test_no_text_covers_another_nor_leaves_the_picture(name):
    root = drawn(name, [GasSample(gases(*CASES["D2"]), "2026-03-01")])
    level = [text for text in texts(root) if text.get("transform") is None]
    for one, other in combinations(level, 2):
        assert not box(one).overlaps(box(other)), (one.text, other.text)
    for text in level:
        room = box(text)
        assert min(room.left, room.top) >= 0, text.text
        assert room.right <= 960, text.text
        assert room.bottom <= 960, text.text


@pytest.fixture(scope="module")
def plain():
    """Each diagram without samples, drawn once."""
    return {name: drawn(name, []) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(amounts, amounts, amounts, amounts, amounts)
def test_a_sample_lies_in_the_zone_that_the_method_names(plain, name, h2, ch4, c2h6, c2h4, c2h2):
    acetylene = c2h2 * (1e-6 if name in ("duval_triangle_4", "duval_triangle_5") else 1.0)  # they refine thermal faults
    sample = GasSample(gases(h2, ch4, c2h6, c2h4, acetylene))
    said = METHODS[name](sample.gases).zone
    assume(said is not None)
    dot = dot_of(name, sample)
    depth_px = max(inside_px(dot, shape) for shape in shapes(plain[name], str(said)))
    assert depth_px > -BORDER_PX or nearest(plain[name], dot) == str(said)


def dot_of(name, sample):
    return triangle.placed(name, sample.gases) if "triangle" in name else pentagon.placed(sample.gases)


def nearest(root, dot):
    """The pentagon's published vertices leave 0.24 % of the area to no zone: there the nearest one counts."""
    zones = [shape for shape in root.iter(f"{SVG}polygon") if shape.get("data-zone")]
    return max(zones, key=lambda shape: inside_px(dot, points(shape))).get("data-zone")


@pytest.mark.parametrize("code", CASES)
def test_the_dot_in_the_document_lies_in_its_zone(code):
    """Inspected cases, read back from the finished document."""
    root = drawn("duval_triangle_1", [GasSample(gases(*CASES[code]))])
    (dot,) = root.iter(f"{SVG}circle")
    assert dot.get("data-code") == code
    assert any(inside_px(place(dot, "cx", "cy"), shape) > -BORDER_PX for shape in shapes(root, code))


@pytest.mark.parametrize("name", NAMES)
def test_a_track_is_drawn_in_the_order_of_time(name):
    track = [GasSample(gases(100, 50, 20, 10 * step, 1), f"day {step}") for step in range(1, 6)]
    root = drawn(name, track)
    dots = list(root.iter(f"{SVG}circle"))
    assert [dot.find(f"{SVG}title").text.split(":")[0] for dot in dots] == [f"day {step}" for step in range(1, 6)]
    assert [dot.get("class") for dot in dots] == ["first", "sample", "sample", "sample", "last"]
    (line,) = [line for line in root.iter(f"{SVG}polyline") if line.get("class") == "track"]
    assert points(line) == [place(dot, "cx", "cy") for dot in dots]


@pytest.mark.parametrize("name", NAMES)
def test_a_screen_reader_hears_what_is_shown(name):
    root = drawn(name, [GasSample(gases(*CASES["T3"]), "today")])
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    assert root.find(f"{SVG}title").text == ZONES[name].title
    said = root.find(f"{SVG}desc").text
    assert "today: T" in said or "today: abstains" in said
    assert "partial discharge" in said or "tap changer" in said


def test_samples_without_gas_are_not_drawn():
    root = drawn("duval_pentagon_1", [GasSample(gases(0, 0, 0, 0, 0))])
    assert list(root.iter(f"{SVG}circle")) == []


def test_a_long_track_is_cut_to_its_newest_samples():
    canvas = Canvas(100, 100, "t", "d")
    draw_track(canvas, [Placed((number / 100, 50.0), "T1", str(number)) for number in range(TRACK_MAX + 7)])
    dots = list(ET.fromstring(canvas.render()).iter(f"{SVG}circle"))
    assert len(dots) == TRACK_MAX
    assert dots[-1].find(f"{SVG}title").text == str(TRACK_MAX + 6)


def test_any_list_of_names_and_vertices_draws():
    """Zones of nobody's: a square in two halves, and a sliver whose label stands outside."""
    canvas = Canvas(400, 400, "t", "d")
    square = [(100.0, 100.0), (300.0, 100.0), (300.0, 300.0), (100.0, 300.0)]
    zones = [
        ("left", [(100.0, 100.0), (199.0, 100.0), (199.0, 300.0), (100.0, 300.0)]),
        ("sliver", [(199.0, 100.0), (201.0, 100.0), (201.0, 300.0), (199.0, 300.0)]),
        ("right", [(201.0, 100.0), (300.0, 100.0), (300.0, 300.0), (201.0, 300.0)]),
    ]
    draw_zones(canvas, zones, square, [])
    root = ET.fromstring(canvas.render())
    where = {text.get("data-label"): place(text) for text in texts(root)}
    assert inside(where["left"], zones[0][1])
    assert inside(where["right"], zones[2][1])
    assert not inside(where["sliver"], square)
    (leader,) = [line for line in root.iter(f"{SVG}polyline") if line.get("data-leader")]
    assert inside(points(leader)[0], zones[1][1])


def test_text_cannot_break_out_of_the_document():
    canvas = Canvas(100, 100, "<script>", '"&')
    canvas.text((10, 10), "</text><script>alert(1)</script>", "tick", note='"><script>')
    canvas.circle((1, 1), 1, "sample", "<b>", code="'\"<>")
    root = ET.fromstring(canvas.render())
    assert [element.tag for element in root.iter() if "script" in element.tag] == []
    assert root.find(f"{SVG}title").text == "<script>"


def test_both_colour_schemes_and_no_font_from_elsewhere(plain):
    style = plain["duval_triangle_1"].find(f"{SVG}style").text
    assert "@media (prefers-color-scheme: dark)" in style
    assert "sans-serif" in style
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
