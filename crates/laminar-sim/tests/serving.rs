//! Serving in virtual time: what goes in comes out, and the clock adds up.

#![allow(clippy::unwrap_used)]

use laminar_schedule::Policy;
use laminar_sim::workload::{Answers, Arrivals, Lengths, Request, Workload};
use laminar_sim::{Hardware, Job, ModelProfile, Outcome, Perfetto, Roofline, Routing, Server, Slo, run_all, serve};

fn server(policy: Policy) -> Server {
    let hardware = Hardware::named("h100-sxm").unwrap().with_devices(2);
    let model = ModelProfile::named("qwen3-30b-a3b").unwrap();
    Server {
        roofline: Roofline::new(hardware, model, Routing::FITTED).unwrap(),
        policy,
        max_sequences: 64,
        context: 32_768,
        slo: Slo { ttft_s: 5.0, tbt_s: 0.125 },
        window: 0.0..1e9,
        counts_refused: false,
    }
}

const POLICIES: [Policy; 6] = [
    Policy::Whole,
    Policy::CHUNKED,
    Policy::ChunkedReleased { tokens: 512 },
    Policy::LAYERED,
    Policy::LayeredReleased { cohort_tokens: 8192, groups: 16 },
    Policy::ADAPTIVE,
];

#[test]
fn every_request_gets_all_its_tokens_under_every_policy() {
    let workload = Workload::named("sharegpt").unwrap();
    let requests = workload.requests(3.0, 20.0, 5).unwrap();
    let tokens: u64 = requests.iter().map(|request| (request.prompt + request.output) as u64).sum();
    for policy in POLICIES {
        let (mut seconds, mut steps, mut last) = (0.0, 0, 0.0);
        let served = serve(&server(policy), &requests, |moment| {
            assert!(moment.start_s >= last, "time goes on");
            last = moment.start_s + moment.cost.seconds();
            seconds += moment.cost.seconds();
            steps += 1;
        })
        .unwrap();
        assert_eq!((served.outcomes.len(), served.tokens, served.steps), (requests.len(), tokens, steps), "{policy:?}");
        let gaps: u64 = requests.iter().map(|request| request.output as u64 - 1).sum();
        assert_eq!(served.gaps.count(), gaps, "{policy:?}");
        assert!((served.busy_s - seconds).abs() < 1e-6 && served.busy_s <= served.seconds + 1e-6);
        let late = served.outcomes.iter().all(|outcome| 0.0 < outcome.ttft_s && outcome.ttft_s <= outcome.e2e_s);
        assert!(late, "{policy:?}");
    }
}

#[test]
fn a_lone_prompt_is_through_after_the_time_of_its_chunks() {
    let request = Request { arrival_s: 1.0, prompt: 8192, output: 1 };
    let served = serve(&server(Policy::CHUNKED), &[request], |_| ()).unwrap();
    assert_eq!(served.steps, 16);
    // The published runtime is 560 ms.
    assert!((served.outcomes[0].ttft_s - 0.56).abs() < 0.03, "{}", served.outcomes[0].ttft_s);
}

#[test]
fn what_does_not_fit_is_refused_and_the_others_are_served() {
    let request = |arrival_s, prompt| Request { arrival_s, prompt, output: 4 };
    let requests = [request(0.0, 100), request(0.1, 40_000), request(0.2, 100)];
    let served = serve(&server(Policy::LAYERED), &requests, |_| ()).unwrap();
    assert_eq!((served.refused, served.outcomes.len()), (1, 2));
    let counting = Server { counts_refused: true, ..server(Policy::LAYERED) };
    let counted = serve(&counting, &requests, |_| ()).unwrap();
    assert_eq!((counted.refused, counted.tokens, counted.outcomes.len()), (1, served.tokens, 3));
    let Outcome { request, ttft_s, e2e_s, .. } = counted.outcomes[1];
    assert_eq!((request, ttft_s, e2e_s), (requests[1], 0.0, 0.0));
    assert_eq!([counted.outcomes[0], counted.outcomes[2]], served.outcomes[..]);
}

#[test]
fn several_threads_find_what_one_finds() {
    let job = |policy, seed| Job {
        server: server(policy),
        workload: Workload {
            name: "same".to_owned(),
            lengths: Lengths::Fixed { prompt: 900, output: 20 },
            arrivals: Arrivals::Poisson,
            answers: Answers::AsGiven,
        },
        rate: 4.0,
        seconds: 10.0,
        seed,
    };
    let jobs: Vec<Job> = POLICIES.into_iter().flat_map(|policy| [1, 2].map(|seed| job(policy, seed))).collect();
    let together = run_all(&jobs, &|| ()).unwrap();
    for (job, figures) in jobs.iter().zip(together) {
        assert_eq!(job.run().unwrap(), figures);
    }
}

#[test]
fn a_trace_shows_cohorts_walking_through_bands_of_layers() {
    let mut trace = Perfetto::new(48, 10.0);
    let request = Request { arrival_s: 0.0, prompt: 8192, output: 3 };
    serve(&server(Policy::LAYERED), &[request], |moment| trace.step(&moment)).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&trace.finish()).unwrap();
    let events = parsed["traceEvents"].as_array().unwrap();
    let cohort: Vec<u64> = events
        .iter()
        .filter(|event| event["ph"] == "X" && event["name"] == "cohort 0")
        .map(|event| event["tid"].as_u64().unwrap())
        .collect();
    assert_eq!(cohort, (1..=16).collect::<Vec<u64>>(), "one band a step, from the top to the bottom");
    assert_eq!(events.iter().filter(|event| event["name"] == "decode").count(), 2);
}
