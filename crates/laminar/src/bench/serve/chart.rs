//! Charts as SVG, drawn here so that a report needs no script and no network.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::stats::TOGETHER_S;
use super::units::{three_digits, time};

/// Outer size and the frame of the drawing, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
/// Height of the heading and the legend of a chart that is a file of its own.
const HEAD: f64 = 58.0;
/// A letter of a legend is hardly wider.
const LETTER: f64 = 7.2;
/// Most ticks of an axis of doublings.
const MAX_DOUBLINGS: usize = 14;
/// Most dots that are drawn of a series; more could not be told apart.
const MAX_DOTS: usize = 8000;
/// How dashed lines are drawn.
const DASHES: &str = " stroke-dasharray=\"6 4\"";
/// Colours of the series, readable on white and on black, told apart by most people who see colours differently.
pub const COLOURS: [&str; 10] =
    ["#2b7bd4", "#e0670c", "#149c76", "#c4549c", "#8f74d6", "#a3831f", "#c93a3a", "#35a2c2", "#6f7a85", "#74a02c"];

/// How values are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By difference.
    Linear,
    /// By ratio.
    Log,
    /// By ratio, with ticks at powers of two.
    Doublings,
}

/// What the numbers at the ticks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, shown in ms or s.
    Time,
    /// A share of 1, shown in per cent.
    Share,
    /// A plain number; the label has its unit.
    Number,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows.
    pub label: &'static str,
    /// How.
    pub scale: Scale,
    /// In what.
    pub unit: Unit,
    /// Both ends; found from the points where absent.
    pub range: Option<(f64, f64)>,
}

/// How the points of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A dot each.
    Dots,
    /// Joined by lines, with a dot each.
    Line,
    /// A staircase.
    Steps,
    /// Joined by dashes, without dots.
    Dashes,
    /// Two points each are the ends of a thin line.
    Spans,
}

/// Points of one run.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the tooltip, and in the legend of a file.
    pub name: String,
    /// Index into [`COLOURS`].
    pub colour: usize,
    /// How to draw it.
    pub shape: Shape,
    /// Values on both axes.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows, for screen readers.
    pub title: &'static str,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The data.
    pub series: Vec<Series>,
    /// Shaded stretches of the x axis.
    pub bands: Vec<(f64, f64)>,
    /// A dashed line at this height.
    pub level: Option<f64>,
}

/// An axis with both ends: from values to pixels.
struct Placed {
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Placed {
    fn new(axis: &Axis, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let positive = |value: &f64| axis.scale == Scale::Linear || *value > 0.0;
        let found = values.filter(|value| value.is_finite()).filter(positive);
        let low = found.clone().reduce(f64::min).unwrap_or(1.0);
        let high = found.reduce(f64::max).unwrap_or(low);
        let (mut low, mut high) = axis.range.unwrap_or((low, high));
        if axis.scale != Scale::Linear {
            // Gaps that are none would take most of the height.
            low = low.max(if axis.unit == Unit::Time { TOGETHER_S } else { 1e-9 });
            high = high.max(low);
            if axis.range.is_none() {
                (low, high) = (low / 1.15, high * 1.15);
            }
        } else if high <= low {
            high = low + 1.0;
        }
        Self { scale: axis.scale, unit: axis.unit, low, high, from, to }
    }

    fn pixel(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log | Scale::Doublings => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => self.even_ticks(),
            Scale::Log => {
                let decades = (self.high / self.low).log10();
                let factors: &[f64] = match decades {
                    decades if decades < 0.6 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
                    decades if decades < 2.5 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let first = self.low.log10().floor() as i32;
                let last = self.high.log10().ceil() as i32;
                let all = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
                let inside: Vec<f64> = all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
                // Values that are close to each other lie between two powers.
                if inside.len() < 2 { self.even_ticks() } else { inside }
            }
            Scale::Doublings => {
                let (first, last) = (self.low.log2().ceil() as i32, self.high.log2().floor() as i32);
                let all: Vec<f64> = (first..=last).map(|power| 2f64.powi(power)).collect();
                let every = all.len().div_ceil(MAX_DOUBLINGS).max(1);
                all.into_iter().step_by(every).collect()
            }
        }
    }

    /// About six, at equal distances.
    fn even_ticks(&self) -> Vec<f64> {
        let step = nice_step((self.high - self.low) / 6.0);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    fn text(&self, tick: f64) -> String {
        let bare = |text: String| match text.split_once(' ') {
            Some((number, unit)) => format!("{} {unit}", trimmed(number)),
            None => trimmed(&text),
        };
        match self.unit {
            Unit::Time if tick == 0.0 => "0".to_owned(),
            Unit::Time => bare(time(tick)),
            Unit::Share => format!("{} %", trimmed(&format!("{:.4}", tick * 100.0))),
            Unit::Number => bare(three_digits(tick)),
        }
    }
}

/// A number without zeros at the end of its fraction.
fn trimmed(number: &str) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number.to_owned() }
}

/// The next of 1, 2, 5, 10, ... times a power of ten.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-12).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

/// Draws a chart as a part of a page, in the page's colours.
pub fn svg(chart: &Chart) -> String {
    let title = escape(chart.title);
    let drawn = drawing(chart);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\" font-size=\"12\" \
         fill=\"currentColor\">{drawn}</svg>"
    )
}

/// Draws a chart as a file of its own, on white, with a heading and a legend of the series that have names.
pub fn file(chart: &Chart, heading: &str) -> String {
    let (title, heading, drawn) = (escape(chart.title), escape(heading), drawing(chart));
    let height = HEIGHT + HEAD;
    let mut legend = String::new();
    let mut at = LEFT;
    for series in chart.series.iter().filter(|series| !series.name.is_empty()) {
        let colour = colour(series);
        let dashes = if series.shape == Shape::Dashes { DASHES } else { "" };
        // Writing to a string can not fail.
        let _ = write!(
            legend,
            "<path d=\"M{at:.1} 44h26\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/><text x=\"{:.1}\" \
             y=\"48\">{}</text>",
            at + 32.0,
            escape(&series.name)
        );
        at += 32.0 + series.name.chars().count() as f64 * LETTER + 24.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-size=\"12\" font-family=\"system-ui, sans-serif\" color=\"#1c2126\" \
         fill=\"currentColor\"><title>{title}</title><rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\
         <text x=\"{LEFT}\" y=\"25\" font-size=\"15\" font-weight=\"600\">{heading}</text>{legend}\
         <g transform=\"translate(0 {HEAD})\">{drawn}</g></svg>\n"
    )
}

/// What is between the tags.
fn drawing(chart: &Chart) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = Placed::new(&chart.x, points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Placed::new(&chart.y, points().map(|point| point.1).chain(chart.level), HEIGHT - BOTTOM, TOP);
    let mut out = String::new();
    for &(from, to) in &chart.bands {
        let (from, to) = (x.pixel(from), x.pixel(to));
        let (top, height, width) = (TOP, HEIGHT - BOTTOM - TOP, (to - from).max(1.0));
        let _ = write!(
            out,
            "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" fill=\"#888888\" \
             fill-opacity=\"0.22\"/>"
        );
    }
    frame(&mut out, chart, &x, &y);
    if let Some(level) = chart.level {
        let at = y.pixel(level);
        let right = WIDTH - RIGHT;
        let _ = write!(out, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"currentColor\"{DASHES} fill=\"none\"/>");
    }
    for series in &chart.series {
        draw(&mut out, series, &x, &y);
    }
    out
}

fn frame(out: &mut String, chart: &Chart, x: &Placed, y: &Placed) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut grid = String::new();
    for tick in y.ticks() {
        let at = y.pixel(tick);
        let _ = write!(grid, "M{LEFT} {at:.1}H{right}");
        let (edge, base) = (LEFT - 7.0, at + 4.0);
        let _ = write!(out, "<text x=\"{edge}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>", y.text(tick));
    }
    for tick in x.ticks() {
        let at = x.pixel(tick);
        let _ = write!(grid, "M{at:.1} {TOP}V{bottom}");
        let base = bottom + 17.0;
        let _ = write!(out, "<text x=\"{at:.1}\" y=\"{base}\" text-anchor=\"middle\">{}</text>", x.text(tick));
    }
    let _ = write!(out, "<path d=\"{grid}\" stroke=\"#888888\" stroke-opacity=\"0.35\" fill=\"none\"/>");
    let _ = write!(out, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" stroke=\"currentColor\" fill=\"none\"/>");
    let (middle, base) = ((LEFT + right) / 2.0, HEIGHT - 10.0);
    let _ = write!(out, "<text x=\"{middle}\" y=\"{base}\" text-anchor=\"middle\">{}</text>", escape(chart.x.label));
    let middle = (TOP + bottom) / 2.0;
    let label = escape(chart.y.label);
    let _ = write!(
        out,
        "<text x=\"15\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 15 {middle})\">{label}</text>"
    );
}

fn colour(series: &Series) -> &'static str {
    COLOURS.get(series.colour % COLOURS.len()).copied().unwrap_or("#2b7bd4")
}

fn draw(out: &mut String, series: &Series, x: &Placed, y: &Placed) {
    let colour = colour(series);
    let name = escape(&series.name);
    let placed: Vec<(f64, f64)> = series.points.iter().map(|&(px, py)| (x.pixel(px), y.pixel(py))).collect();
    let mut path = String::new();
    match series.shape {
        Shape::Dots => {}
        Shape::Line | Shape::Dashes => {
            for (index, (px, py)) in placed.iter().enumerate() {
                let _ = write!(path, "{}{px:.1} {py:.1}", if index == 0 { 'M' } else { 'L' });
            }
        }
        Shape::Spans => {
            for ends in placed.chunks_exact(2) {
                let _ = write!(path, "M{:.1} {:.1}L{:.1} {:.1}", ends[0].0, ends[0].1, ends[1].0, ends[1].1);
            }
        }
        Shape::Steps => {
            let mut last: Option<(f64, f64)> = None;
            for &(px, py) in &placed {
                match last {
                    None => {
                        let _ = write!(path, "M{px:.1} {py:.1}");
                    }
                    // A stair that is smaller than half a pixel would not be seen.
                    Some((lx, ly)) if (px - lx).abs() < 0.5 && (py - ly).abs() < 0.5 => continue,
                    Some(_) => {
                        let _ = write!(path, "H{px:.1}V{py:.1}");
                    }
                }
                last = Some((px, py));
            }
            if let Some(&(px, py)) = placed.last() {
                let _ = write!(path, "H{px:.1}V{py:.1}");
            }
        }
    }
    if !path.is_empty() {
        let dashes = if series.shape == Shape::Dashes { DASHES } else { "" };
        let width = if series.shape == Shape::Spans { 1 } else { 2 };
        let _ = write!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}><title>{name}</title>\
             </path>"
        );
    }
    if matches!(series.shape, Shape::Dots | Shape::Line) {
        let mut dots = String::new();
        for (px, py) in thinned(&placed) {
            let _ = write!(dots, "M{px:.1} {py:.1}h0");
        }
        let size = if series.shape == Shape::Line { 8 } else { 3 };
        let _ = write!(
            out,
            "<path d=\"{dots}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{size}\" \
             stroke-linecap=\"round\" stroke-opacity=\"0.8\"><title>{name}</title></path>"
        );
    }
}

/// One dot for each small square that has any: the picture is the same and the file stays small.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut side = 1.0;
    loop {
        let mut taken = BTreeSet::new();
        let square = |value: f64| (value / side) as i64;
        let kept: Vec<_> =
            points.iter().copied().filter(|point| taken.insert((square(point.0), square(point.1)))).collect();
        if kept.len() <= MAX_DOTS {
            return kept;
        }
        side *= 1.5;
    }
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(scale: Scale, unit: Unit, low: f64, high: f64) -> Placed {
        let axis = Axis { label: "", scale, unit, range: Some((low, high)) };
        Placed::new(&axis, std::iter::empty(), 0.0, 100.0)
    }

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        let linear = placed(Scale::Linear, Unit::Number, 0.0, 60.0);
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        let log = placed(Scale::Log, Unit::Time, 0.008, 12.0);
        let ticks: Vec<_> = log.ticks().into_iter().map(|tick| log.text(tick)).collect();
        assert_eq!(ticks, ["10 ms", "100 ms", "1 s", "10 s"]);
        let close = placed(Scale::Log, Unit::Time, 0.105, 0.139);
        let ticks: Vec<_> = close.ticks().into_iter().map(|tick| close.text(tick)).collect();
        assert_eq!(ticks, ["110 ms", "120 ms", "130 ms"]);
        assert_eq!(placed(Scale::Doublings, Unit::Number, 7.0, 70.0).ticks(), [8.0, 16.0, 32.0, 64.0]);
        assert_eq!(placed(Scale::Doublings, Unit::Number, 1.0, 1e9).ticks()[..3], [1.0, 8.0, 64.0]);
        let share = placed(Scale::Linear, Unit::Share, 0.0, 1.0);
        assert_eq!((share.text(0.2), share.text(0.001)), ("20 %".to_owned(), "0.1 %".to_owned()));
    }

    #[test]
    fn places_are_inside_the_frame() {
        let log = placed(Scale::Log, Unit::Time, 0.01, 1.0);
        assert_eq!((log.pixel(0.01), log.pixel(1.0), log.pixel(0.0), log.pixel(99.0)), (0.0, 100.0, 0.0, 100.0));
        assert!((log.pixel(0.1) - 50.0).abs() < 1e-9);
        // One value alone has a place, too.
        let axis = Axis { label: "", scale: Scale::Linear, unit: Unit::Number, range: None };
        assert!(Placed::new(&axis, [3.0].into_iter(), 0.0, 10.0).pixel(3.0).is_finite());
        let axis = Axis { scale: Scale::Log, ..axis };
        assert!(Placed::new(&axis, [0.0].into_iter(), 0.0, 10.0).pixel(0.0).is_finite());
    }

    #[test]
    fn many_dots_become_few_and_the_highest_stays() {
        let points: Vec<_> = (0..200_000).map(|i| (f64::from(i % 780), f64::from(i / 780))).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= MAX_DOTS && kept.len() > MAX_DOTS / 4, "{}", kept.len());
        let few = [(1.0, 1.0), (1.2, 1.2), (5.0, 9.0)];
        assert_eq!(thinned(&few), [(1.0, 1.0), (5.0, 9.0)]);
    }

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }
}
