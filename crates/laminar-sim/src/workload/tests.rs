use super::*;

/// Mean, deviation, median and 90 % point.
fn statistics(mut values: Vec<f64>) -> [f64; 4] {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let at = |share: f64| values[(share * count) as usize];
    [mean, variance.sqrt(), at(0.5), at(0.9)]
}

fn lengths(name: &str) -> [[f64; 4]; 2] {
    let workload = Workload::named(name).unwrap();
    let requests = workload.requests(100.0, 600.0, 1).unwrap();
    let all = |of: fn(&Request) -> usize| statistics(requests.iter().map(|request| of(request) as f64).collect());
    [all(|request| request.prompt), all(|request| request.output)]
}

#[track_caller]
fn near(found: f64, published: f64, share: f64) {
    assert!((found / published - 1.0).abs() < share, "{found}, published is {published}");
}

#[test]
fn lengths_have_the_published_statistics() {
    let [prompt, output] = lengths("sharegpt");
    for (found, published) in prompt.into_iter().zip([2340.0, 2089.0, 1730.0, 5696.0]) {
        near(found, published, 0.03);
    }
    for (found, published) in output.into_iter().zip([439.0, 266.0, 415.0, 834.0]) {
        near(found, published, 0.03);
    }
    let [prompt, output] = lengths("arxiv");
    for (found, published) in prompt.into_iter().zip([9194.0, 7700.0, 7184.0, 16_659.0]) {
        near(found, published, 0.03);
    }
    near(output[0], 230.0, 0.02);
    let [prompt, output] = lengths("azure-conv");
    near(prompt[0], 1155.0, 0.03);
    near(output[0], 211.0, 0.06);
    let [prompt, output] = lengths("azure-code");
    near(prompt[0], 2048.0, 0.03);
    near(output[0], 28.0, 0.06);
}

#[test]
fn answers_that_the_model_may_end_are_shorter_than_their_caps() {
    let given = Workload::named("sharegpt").unwrap();
    let capped = Workload { answers: Answers::Capped, ..given.clone() };
    let [given, capped] = [given, capped].map(|workload| workload.requests(100.0, 600.0, 1).unwrap());
    assert!(given.iter().zip(&capped).all(|(given, capped)| capped.output <= given.output));
    assert!(given.iter().zip(&capped).all(|(given, capped)| capped.prompt == given.prompt));
    let mut outputs: Vec<f64> = given.iter().map(|request| request.output as f64).collect();
    outputs.sort_by(f64::total_cmp);
    // Of two numbers out of these, the smaller one is this one with a chance that falls from the first to the last.
    let count = outputs.len();
    let weight = |index: usize| (2 * (count - index) - 1) as f64 / (count * count) as f64;
    let smaller: f64 = outputs.iter().enumerate().map(|(index, output)| output * weight(index)).sum();
    let mean = capped.iter().map(|request| request.output as f64).sum::<f64>() / count as f64;
    near(mean, smaller, 0.01);
    near(mean, 0.63 * 439.0, 0.01);
}

#[test]
fn arrivals_have_their_rate_and_bursts_vary_more() {
    let variation = |arrivals: Arrivals| {
        let workload = Workload { arrivals, ..Workload::named("sharegpt").unwrap() };
        let requests = workload.requests(5.0, 4000.0, 3).unwrap();
        let gaps: Vec<f64> = requests.windows(2).map(|pair| pair[1].arrival_s - pair[0].arrival_s).collect();
        let [mean, deviation, ..] = statistics(gaps);
        near(mean, 0.2, 0.06);
        deviation / mean
    };
    near(variation(Arrivals::Poisson), 1.0, 0.03);
    near(variation(Arrivals::Benchmark { seed: 0 }), 1.0, 0.03);
    near(variation(Arrivals::Bursty { variation: 3.0 }), 3.0, 0.1);
}

#[test]
fn the_benchmark_sends_at_its_own_times_whatever_the_seed() {
    let workload = Workload { arrivals: Arrivals::Benchmark { seed: 0 }, ..Workload::named("arxiv").unwrap() };
    let times = |rate, seed| -> Vec<f64> {
        let requests = workload.requests(rate, 600.0, seed).unwrap();
        requests.iter().map(|request| request.arrival_s).collect()
    };
    let one = times(1.3, 1);
    // -ln(1 - u) / 1.3 for NumPy's first numbers, 0.5488135 and 0.7151894.
    for (found, expected) in one[..3].iter().zip([0.0, 0.612_211_1, 1.578_311_7]) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!((one.len(), times(2.3, 1).len()), (780, 1379), "as the script counts them");
    near(one[779], 604.8, 0.001);
    assert_eq!(one, times(1.3, 2));
    let lengths =
        |seed| workload.requests(1.3, 600.0, seed).unwrap().iter().map(|request| request.prompt).collect::<Vec<_>>();
    assert_ne!(lengths(1), lengths(2));
}

#[test]
fn a_seed_gives_one_list_and_another_one_gives_another_order() {
    let workload = Workload::named("arxiv").unwrap();
    let one = workload.requests(2.0, 100.0, 7).unwrap();
    assert_eq!(one.len(), 200);
    assert_eq!(one, workload.requests(2.0, 100.0, 7).unwrap());
    let other = workload.requests(2.0, 100.0, 8).unwrap();
    assert_ne!(one[0].prompt, other[0].prompt);
    let mean = |requests: &[Request]| statistics(requests.iter().map(|request| request.prompt as f64).collect())[0];
    near(mean(&one), mean(&other), 0.02);
    assert!(one.is_sorted_by(|one, other| one.arrival_s <= other.arrival_s) && one[199].arrival_s < 100.0);
}

#[test]
fn a_file_is_replayed_or_drawn_in_its_order() {
    let plain = Workload::from_csv("x", "prompt_tokens,output_tokens\n10,2\n20,3\n").unwrap();
    let lengths: Vec<usize> = plain.requests(10.0, 1.0, 1).unwrap().iter().map(|request| request.prompt).collect();
    assert!(lengths.starts_with(&[10, 20, 10]));
    let timed = Workload::from_csv("x", "arrival_s,output_tokens,prompt_tokens\n0.5,2,10\n1.5,3,20\n").unwrap();
    let requests = timed.requests(1.0, 10.0, 1).unwrap();
    assert_eq!(requests[1], Request { arrival_s: 1.5, prompt: 20, output: 3 });
    for bad in [
        "",
        "prompt_tokens\n3\n",
        "prompt_tokens,output_tokens\n",
        "prompt_tokens,output_tokens\n3,0\n",
        "arrival_s,prompt_tokens,output_tokens\n2,3,4\n1,3,4\n",
    ] {
        assert!(Workload::from_csv("x", bad).is_err(), "{bad:?}");
    }
    assert!(plain.requests(0.0, 1.0, 1).is_err());
}
