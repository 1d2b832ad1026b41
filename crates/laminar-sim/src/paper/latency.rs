//! Sections 2.2 to 2.4 and 2.6 to 2.9: single numbers on the paper's testbed.

use super::bench::{Bench, Way};
use super::calibration::{decode_step, prompt_in_chunks};
use super::published::{BY_CHUNK, BY_CHUNK_MODEL, BY_CHUNK_TOKENS, COVERAGE, DECODE_STEP, DECODE_STEP_MS, PANELS};
use super::row::{Row, Tolerance};
use super::slo::SEEDS;
use crate::workload::Answers;
use crate::{Figures, Job, PlanError, Routing, Slo, serve};

/// Requests that the table of expert loads counts.
const COUNTED: f64 = 100.0;

/// Seconds of arrivals in the paper's sweep of chunks of 2048.
const SWEPT: f64 = 120.0;

/// What chunked's waits hang on.
const CLOSE_TO_FULL: &str = "the chunked server is nearly full at this rate, so a few per cent of a step's time or of the prompts' \
     lengths decide how long its queue is; which prompt comes when is not published";

/// Orders of the same lengths that show how much hangs on it.
const ORDERS: u64 = 15;

/// The request of which the paper's repository shows each token of the run at 1.3 requests/s, and the seconds to its first one,
/// read off that figure: chunked and layered.
const TRACED: (usize, [f64; 2]) = (205, [5.8, 1.1]);

/// What the constants were fitted on.
pub(super) fn fitted() -> Result<Vec<Row>, PlanError> {
    let mut rows = Vec::new();
    for (count, published) in COVERAGE {
        let ours = 100.0 * Routing::FITTED.coverage(128, 8, count as f64);
        let what = format!("experts that {count} decode rows touch");
        let tolerance = if count == 16 { Tolerance::AtMost } else { Tolerance::Share(0.1) };
        rows.push(Row::new("2.2", what, "%", [published, ours], tolerance).fitted());
    }
    let qwen = PANELS.iter().find(|panel| panel.model == BY_CHUNK_MODEL).map(Bench::panel).transpose()?;
    for row in BY_CHUNK {
        let Some(bench) = &qwen else { break };
        let (cost, chunk) = (prompt_in_chunks(bench.roofline(), BY_CHUNK_TOKENS, row.chunk), row.chunk);
        let mut fit = |what: &str, unit, published, ours, tolerance| {
            let row = Row::new("2.3", format!("{what}, chunks of {chunk}"), unit, [published, ours], tolerance);
            rows.push(row.fitted());
        };
        fit("expert load", "GB", row.load_gb, cost.expert_bytes / 1e9, Tolerance::Share(0.05));
        fit("runtime", "ms", row.total_ms, cost.seconds() * 1e3, Tolerance::Share(0.1));
        fit("runtime of experts", "ms", row.experts_ms, cost.experts_s * 1e3, Tolerance::Share(0.1));
        if let Some(published) = row.attention_ms {
            fit("runtime of attention", "ms", published, cost.attention_s * 1e3, Tolerance::Share(0.1));
        }
        if let Some(published) = row.script_ms {
            // The fit lies between what is published twice; the figure's is judged.
            let what = format!("runtime, chunks of {chunk}, by the parts in the script");
            let both = [published, cost.seconds() * 1e3];
            rows.push(Row::new("2.3", what, "ms", both, Tolerance::Share(0.1)).fitted().shown());
        }
    }
    for (model, published) in DECODE_STEP_MS {
        let Some(panel) = PANELS.iter().find(|panel| panel.model == model) else { continue };
        let (count, context) = DECODE_STEP;
        let ours = decode_step(Bench::panel(panel)?.roofline(), count, context).seconds() * 1e3;
        let what = format!("decode step of {count} sequences at {context} tokens, {model}");
        rows.push(Row::new("2.1", what, "ms", [published, ours], Tolerance::Share(0.1)).fitted());
    }
    Ok(rows)
}

/// Everything that is predicted on the testbed, but the curves.
pub(super) fn predicted(run: &dyn Fn(Vec<Job>) -> Result<Vec<Figures>, PlanError>) -> Result<Vec<Row>, PlanError> {
    let [qwen_arxiv, gpt_arxiv, qwen_chat, _] = PANELS.each_ref().map(Bench::panel);
    let (qwen, gpt, chat) = (qwen_arxiv?, gpt_arxiv?, qwen_chat?);
    let arxiv = Slo { ttft_s: 10.0, tbt_s: 0.125 };
    let dense = Bench::new("h100-sxm", "qwen3-8b", "arxiv", arxiv, 16)?;
    let wanted = [
        (&qwen, Way::Chunked(512), 1.3),
        (&qwen, Way::Layered, 1.3),
        (&qwen, Way::Layered, 1.6),
        (&qwen, Way::Chunked(2048), 2.6),
        (&qwen, Way::Groups(2), 1.3),
        (&gpt, Way::Chunked(512), 2.1),
        (&gpt, Way::Layered, 2.7),
        (&dense, Way::Chunked(512), 1.3),
        (&dense, Way::Layered, 1.3),
        (&qwen, Way::Groups(4), 1.3),
        (&qwen, Way::Chunked(2048), 1.3),
    ];
    let job = |bench: &Bench, way, rate, seed| {
        let job = bench.job(way, rate, seed);
        if way == Way::Chunked(2048) && rate > 2.0 { Job { seconds: SWEPT, ..job } } else { job }
    };
    let jobs =
        wanted.into_iter().flat_map(|(bench, way, rate)| (1..=SEEDS).map(move |seed| job(bench, way, rate, seed)));
    let mut jobs: Vec<Job> = jobs.collect();
    // The table of expert loads counts 100 requests, from the first one to the end of the last one.
    for (bench, rate) in [(&qwen, 1.3), (&chat, 4.0)] {
        for way in [Way::Chunked(512), Way::Layered] {
            jobs.extend((1..=SEEDS).map(|seed| Job { seconds: (COUNTED + 0.5) / rate, ..bench.job(way, rate, seed) }));
        }
    }
    let figures = run(jobs)?;
    let medians: Vec<Figures> = figures.chunks(SEEDS as usize).map(Figures::median).collect();
    let at = |index: usize| medians.get(index).copied().unwrap_or_default();
    let (chunked, layered, layered_16, chunked_2048) = (at(0), at(1), at(2), at(3));

    let gb = |figures: &Figures| figures.expert_bytes_per_request / 1e9;
    let mj = |figures: &Figures| figures.joules_per_token * 1e3;
    let ms = |seconds: f64| seconds * 1e3;
    let change = |of: f64, from: f64| 100.0 * (of / from - 1.0);
    let near = Tolerance::Share;
    let mut rows = vec![
        Row::new("2.4", "expert load a request, chunks of 512 at 1.3", "GB", [955.0, gb(&chunked)], near(0.2)),
        Row::new("2.4", "expert load a request, chunks of 2048 at 2.6", "GB", [304.0, gb(&chunked_2048)], near(0.2)),
        Row::new("2.4", "energy, chunks of 512 at 1.3", "mJ/token", [60.2, mj(&chunked)], near(0.2)).fitted(),
        Row::new("2.4", "energy, chunks of 2048 at 2.6", "mJ/token", [32.4, mj(&chunked_2048)], near(0.2)),
        Row::new("2.4", "p99 TBT, chunks of 2048 at 2.6", "ms", [129.0, ms(chunked_2048.tbt_p99_s)], near(0.2)),
        Row::new("2.6", "mean TTFT, chunked", "s", [2.80, chunked.ttft_mean_s], near(0.2)).reason(CLOSE_TO_FULL),
        Row::new("2.6", "mean TTFT, layered", "s", [1.24, layered.ttft_mean_s], near(0.2)),
        Row::new("2.6", "p99 TTFT, chunked", "s", [8.65, chunked.ttft_p99_s], near(0.25)).reason(CLOSE_TO_FULL),
        Row::new("2.6", "p99 TTFT, layered", "s", [4.10, layered.ttft_p99_s], near(0.25)),
        Row::new("2.6", "p99 TBT, chunked", "ms", [48.4, ms(chunked.tbt_p99_s)], near(0.2)),
        Row::new("2.6", "p99 TBT, layered", "ms", [35.0, ms(layered.tbt_p99_s)], near(0.2)),
        Row::new(
            "2.6",
            "mean TBT, layered against chunked",
            "%",
            [-35.0, change(layered.tbt_mean_s, chunked.tbt_mean_s)],
            Tolerance::Difference(10.0),
        ),
        Row::new(
            "2.7",
            "expert load, layered against chunked, 100 requests of arXiv at 1.3",
            "%",
            [-39.0, change(gb(&at(12)), gb(&at(11)))],
            Tolerance::Difference(5.0),
        ),
        Row::new(
            "2.7",
            "expert load, layered against chunked, 100 requests of ShareGPT at 4.0",
            "%",
            [-12.0, change(gb(&at(14)), gb(&at(13)))],
            Tolerance::Difference(5.0),
        ),
    ];
    let energy = "the three constants of energy were set by hand with the published energy at 1.3 in view";
    for (what, published, ours) in [
        ("energy, qwen3-30b-a3b, chunked at 1.3", 56.6, mj(&chunked)),
        ("energy, qwen3-30b-a3b, layered at 1.6", 44.2, mj(&layered_16)),
        ("energy, gpt-oss-20b, chunked at 2.1", 37.4, mj(&at(5))),
        ("energy, gpt-oss-20b, layered at 2.7", 29.8, mj(&at(6))),
    ] {
        let row = Row::new("2.8", what, "mJ/token", [published, ours], near(0.2)).noted(energy);
        rows.push(if published == 56.6 { row.fitted() } else { row });
    }
    let groups = |what: &str, unit, published, ours| Row::new("2.9", what, unit, [published, ours], near(0.2));
    rows.push(groups("p99 TBT, 2 groups at 1.3", "ms", 138.0, ms(at(4).tbt_p99_s)));
    rows.push(groups("p99 TBT, 16 groups at 1.3", "ms", 35.7, ms(layered.tbt_p99_s)));
    rows.push(groups("mean TTFT, 16 groups at 1.3", "s", 1.27, layered.ttft_mean_s));
    rows.push(Row::new(
        "2.9",
        "mean TTFT of a dense model (qwen3-8b), layered against chunked",
        "%",
        [52.0, change(at(8).ttft_mean_s, at(7).ttft_mean_s)],
        Tolerance::Sign,
    ));
    rows.push(Row::new(
        "2.9",
        "mean TBT of a dense model (qwen3-8b), layered against chunked",
        "% (published: worse)",
        [1.0, change(at(8).tbt_mean_s, at(7).tbt_mean_s)],
        Tolerance::Sign,
    ));
    rows.push(Row::new(
        "5.2",
        "mean time of a request, 4 groups against chunks of 2048, arXiv at 1.3",
        "% (published: about equal)",
        [0.0, change(at(9).e2e_mean_s, at(10).e2e_mean_s)],
        Tolerance::Difference(10.0),
    ));
    Ok(rows)
}

/// How much hangs on how full the chunked server is, and on the order of its prompts. Not judged.
pub(super) fn close_to_full(run: &dyn Fn(Vec<Job>) -> Result<Vec<Figures>, PlanError>) -> Result<Vec<Row>, PlanError> {
    let bench = Bench::panel(&PANELS[0])?;
    let job = |rate| move |seed| (rate, seed);
    let wanted = (1..=SEEDS).map(job(0.95 * 1.3)).chain((1..=ORDERS).map(job(1.3)));
    let figures = run(wanted.map(|(rate, seed)| bench.job(Way::Chunked(512), rate, seed)).collect())?;
    let (fewer, orders) = figures.split_at(figures.len().min(SEEDS as usize));
    let least = |of: &dyn Fn(f64, f64) -> f64, start| orders.iter().map(|run| run.ttft_mean_s).fold(start, of);
    let rows = [
        ("mean TTFT, chunked, with 5 % fewer requests".to_owned(), Figures::median(fewer).ttft_mean_s),
        (format!("mean TTFT, chunked, least of {ORDERS} orders of the prompts"), least(&f64::min, f64::INFINITY)),
        (format!("mean TTFT, chunked, most of {ORDERS} orders of the prompts"), least(&f64::max, 0.0)),
    ];
    Ok(rows.map(|(what, ours)| Row::new("2.6", what, "s", [2.80, ours], Tolerance::Share(0.2)).shown()).into())
}

/// The request whose tokens the paper's repository shows. Its number alone decides when it comes, so it waits for whoever came
/// before it; how long they all are is drawn. Not judged.
pub(super) fn traced_request() -> Result<Vec<Row>, PlanError> {
    let (bench, (number, published)) = (Bench::panel(&PANELS[0])?, TRACED);
    let mut rows = Vec::new();
    for ((name, way), published) in
        [("chunked", Way::Chunked(512)), ("layered", Way::Layered)].into_iter().zip(published)
    {
        let mut waits = Vec::new();
        for seed in 1..=ORDERS {
            let job = bench.job(way, 1.3, seed);
            let mut requests = job.workload.requests(job.rate, job.seconds, seed)?;
            requests.truncate(number + 50);
            // One that the server refuses says nothing.
            requests.iter_mut().skip(number).take(1).for_each(|request| request.prompt = request.prompt.min(8192));
            let served = serve(&job.server, &requests, |_| ())?;
            waits.extend(served.outcomes.get(number).map(|outcome| outcome.ttft_s));
        }
        waits.sort_by(f64::total_cmp);
        let ours = waits.get(waits.len() / 2).copied().unwrap_or_default();
        let what =
            format!("TTFT of request {number} of the run at 1.3, {name}, median of {ORDERS} orders of the prompts");
        rows.push(Row::new("2.6", what, "s", [published, ours], Tolerance::Share(0.5)).shown());
    }
    Ok(rows)
}

/// Section 5.1: two H200 behind a host whose work grows with the prompt rows of a step.
pub(super) fn slow_host(run: &dyn Fn(Vec<Job>) -> Result<Vec<Figures>, PlanError>) -> Result<Vec<Row>, PlanError> {
    let bench = Bench::new("h200-slow-host", "qwen3-30b-a3b", "arxiv", Slo { ttft_s: 10.0, tbt_s: 0.125 }, 16)?;
    let rates = [1.3, 2.5, 2.7];
    let ways = |rate| [Way::Chunked(512), Way::Layered].map(|way| (way, rate));
    let seeds = |(way, rate)| (1..=SEEDS).map(move |seed| (way, rate, seed));
    let jobs = rates.into_iter().flat_map(ways).flat_map(seeds);
    let figures = run(jobs.map(|(way, rate, seed)| bench.job(way, rate, seed)).collect())?;
    let medians: Vec<Figures> = figures.chunks(SEEDS as usize).map(Figures::median).collect();
    let mut rows = Vec::new();
    for (pair, rate) in medians.chunks_exact(2).zip(rates) {
        let (chunked, layered) = (pair[0], pair[1]);
        let ttft = 100.0 * (layered.ttft_mean_s / chunked.ttft_mean_s - 1.0);
        let row = |what: String, unit, both| Row::new("5.1", what, unit, both, Tolerance::Sign);
        if rate < 2.6 {
            let what = format!("mean TTFT on H200 behind a slow host, layered against chunked, at {rate}");
            rows.push(row(what, "% (published: 7 to 17 slower)", [12.0, ttft]));
        } else {
            let what = format!("requests in time on H200 behind a slow host, layered against chunked, at {rate}");
            rows.push(row(what, "points", [-7.5, 100.0 * (layered.attainment - chunked.attainment)]));
        }
    }
    Ok(rows)
}

/// What the curves of ShareGPT stand on: answers that end before their caps. Not judged.
pub(super) fn answers_to_the_cap(
    run: &dyn Fn(Vec<Job>) -> Result<Vec<Figures>, PlanError>,
) -> Result<Vec<Row>, PlanError> {
    let mut rows = Vec::new();
    for panel in PANELS.iter().filter(|panel| panel.workload == "sharegpt") {
        let bench = Bench::panel(panel)?.answering(Answers::AsGiven);
        let (chunked, layered) = panel.sustained();
        let jobs = [(Way::Chunked(512), chunked), (Way::Layered, layered)].map(|(way, rate)| bench.job(way, rate, 1));
        for ((figures, rate), way) in run(jobs.to_vec())?.iter().zip([chunked, layered]).zip(["chunked", "layered"]) {
            let published = panel.points.iter().find(|point| (point.0 - rate).abs() < 1e-6);
            let published = published.map_or(0.0, |point| if way == "chunked" { point.1 } else { point.2 });
            let what =
                format!("in time if every answer reached its cap, {} {} at {rate}, {way}", panel.model, panel.workload);
            let both = [published, 100.0 * figures.attainment];
            rows.push(Row::new("2.5", what, "%", both, Tolerance::Difference(10.0)).shown());
        }
    }
    Ok(rows)
}
