//! `laminar bench roof`: what this machine could do at best, for one thread up to all of them.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use laminar_kernels::Pool;
use laminar_kernels::roof::{Form, Reader};
use serde::Serialize;

use super::machine::buffer_bytes;
use super::probes::{Probes, Roof};
use crate::cli::RoofArgs;
use crate::{progress, setup};

/// Rounds go on for so long, and there are at least so many.
const TIME: Duration = Duration::from_millis(4500);
const ROUNDS: usize = 3;

/// What `--json` prints.
#[derive(Serialize)]
struct Roofs {
    /// Bytes of the buffer that is read.
    buffer_bytes: usize,
    /// Measurements of each roof.
    rounds: usize,
    roofs: Vec<Roof>,
}

/// Measures, and prints a table or one JSON object.
pub fn run(args: &RoofArgs, quiet: bool) -> anyhow::Result<()> {
    let threads = setup::threads(args.threads);
    let buffer_bytes = buffer_bytes();
    let reader = Reader::new(&Pool::new(threads), buffer_bytes);
    let mut probes: Vec<Probes<'_>> =
        thread_counts(threads).into_iter().map(|threads| Probes::new(threads, &reader, Form::available())).collect();
    let bar = progress::Count::new("measuring the machine", TIME.as_millis() as usize, quiet);
    let begin = Instant::now();
    let mut rounds = 0;
    // A round measures everything once, so that a slow moment of the machine hits all alike.
    while rounds < ROUNDS || begin.elapsed() < TIME {
        for probes in &mut probes {
            probes.round();
            bar.set(begin.elapsed().as_millis() as usize);
        }
        rounds += 1;
    }
    drop(bar);
    let roofs = Roofs { buffer_bytes, rounds, roofs: probes.iter().flat_map(Probes::roofs).collect() };
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, &roofs).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        write_table(&mut stdout, &roofs)?;
    }
    stdout.flush()?;
    Ok(())
}

/// Every number of threads up to this one is measured; beyond it that would take too long and tell little.
const EVERY: usize = 8;

/// 1 to 8, then 16, 32 and so on, and the last one.
fn thread_counts(last: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(2 * EVERY), |count| count.checked_mul(2));
    (1..=EVERY).chain(doubled).take_while(|count| *count < last).chain([last]).collect()
}

fn write_table(out: &mut impl Write, roofs: &Roofs) -> io::Result<()> {
    let Roofs { buffer_bytes, rounds, roofs } = roofs;
    writeln!(out, "rounds {rounds}; memory is read from a buffer of {} MiB", buffer_bytes >> 20)?;
    writeln!(out, "dispatch: billions of NOPs a second and thread just before; far apart means a busy machine")?;
    writeln!(
        out,
        "\n{:<8}{:<17}{:>9}{:>9}{:>9}  {:<8}{:>14}{:>8}{:>8}",
        "threads", "roof", "min", "median", "max", "", "dispatch min", "median", "max"
    )?;
    for roof in roofs {
        let rate = &roof.rate;
        let (min, median, max) = (number(rate.min), number(rate.median), number(rate.max));
        write!(out, "{:<8}{:<17}{min:>9}{median:>9}{max:>9}  {:<8}", roof.threads, roof.name, roof.unit)?;
        match &roof.dispatch_g_s {
            Some(dispatch) => {
                writeln!(out, "{:>14.1}{:>8.1}{:>8.1}", dispatch.min, dispatch.median, dispatch.max)?;
            }
            None => writeln!(out, "{:>14}{:>8}{:>8}", "-", "-", "-")?,
        }
    }
    Ok(())
}

/// One digit behind the point where there are few before it.
pub fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_go_up_to_the_last() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(3), [1, 2, 3]);
        assert_eq!(thread_counts(8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(thread_counts(40), [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 40]);
    }
}
