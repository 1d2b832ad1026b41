//! From flags to runs: every combination of what was given.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use laminar_model::arch::read_config;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::inspect::inspect;
use laminar_schedule::{Policy, Targets};
use laminar_sim::workload::{Arrivals, Workload};
use laminar_sim::{Hardware, Job, Latent, ModelProfile, Roofline, Routing, Server, Slo};
use serde::Serialize;

use crate::cli::{PlanArgs, RoutingName, SimulatedPolicy};
use crate::source;

/// Most prompt tokens of a cohort.
const COHORT_TOKENS: usize = 8192;
/// Prompt tokens that a layer group stands for.
const GROUP_TOKENS: usize = 512;
/// Groups of a full cohort in the paper's released code, for models of 48 layers.
const GROUPS: usize = 16;
/// Share of the limit for gaps that steps aim at whose end nobody watches.
const AIM: f64 = 0.8;

/// What a run is called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// Machine, with the number of devices.
    pub hardware: String,
    /// Policy, with its parameter.
    pub policy: String,
    /// Requests a second.
    pub rate: f64,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub label: Label,
    /// What to do.
    pub job: Job,
}

/// All combinations.
pub fn cases(args: &PlanArgs, quiet: bool) -> anyhow::Result<Vec<Case>> {
    let model = model(&args.model, quiet)?;
    let workload = workload(args)?;
    let policies = policies(args, model.layers)?;
    let routing = match args.routing {
        RoutingName::Skewed => Routing::FITTED,
        RoutingName::Uniform => Routing::Uniform,
    };
    let seconds = args.duration.as_secs_f64();
    let mut cases = Vec::new();
    for name in &args.hardware {
        let hardware = hardware(name)?;
        let devices = args.devices.map_or(hardware.devices, |devices| devices.get());
        let machine = format!("{devices} x {}", hardware.name);
        let roofline = Roofline::new(hardware.with_devices(devices), model.clone(), routing)?;
        for (policy, policy_name) in &policies {
            for rate in &args.rate {
                let server = Server {
                    roofline: roofline.clone(),
                    policy: *policy,
                    max_sequences: args.max_seqs.get(),
                    context: args.ctx.get(),
                    slo: Slo { ttft_s: args.slo_ttft.as_secs_f64(), tbt_s: args.slo_tbt.as_secs_f64() },
                    window: 0.1 * seconds..1.1 * seconds,
                    counts_refused: false,
                };
                let job =
                    Job { server, workload: workload.clone(), rate: *rate, seconds: 1.2 * seconds, seed: args.seed };
                let label = Label { hardware: machine.clone(), policy: policy_name.clone(), rate: *rate };
                cases.push(Case { label, job });
            }
        }
    }
    Ok(cases)
}

/// The name of the model of all cases.
pub fn model_name(cases: &[Case]) -> String {
    cases.first().map(|case| case.job.server.roofline.model().name.clone()).unwrap_or_default()
}

/// A policy as people write it.
pub fn policy_name(policy: SimulatedPolicy) -> String {
    policy.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Policies with their parameters; those that have none of a flag's values are there once.
fn policies(args: &PlanArgs, layers: usize) -> anyhow::Result<Vec<(Policy, String)>> {
    let unwatched = args.tbt_target.unwrap_or(Duration::from_secs_f64(AIM * args.slo_tbt.as_secs_f64()));
    let tbt = args.tbt_target.unwrap_or(args.slo_tbt);
    let targets = Targets { tbt: Some(tbt), ttft: Some(args.slo_ttft.max(tbt)) };
    if let Some(groups) = args.groups.iter().find(|groups| groups.get() > layers) {
        bail!("--groups {groups}: the model has {layers} layers");
    }
    let groups: Vec<usize> = args.groups.iter().map(|groups| groups.get()).collect();
    let chunks = args.chunk.iter().map(|chunk| chunk.get());
    let mut policies = Vec::new();
    for policy in &args.policy {
        let name = policy_name(*policy);
        match policy {
            SimulatedPolicy::Adaptive => {
                policies.push((Policy::Adaptive { targets, cohort_tokens: COHORT_TOKENS }, name));
            }
            SimulatedPolicy::Whole => policies.push((Policy::Whole, name)),
            SimulatedPolicy::Chunked => {
                policies.extend(chunks.clone().map(|tokens| (Policy::Chunked { tokens }, format!("{name} {tokens}"))));
            }
            SimulatedPolicy::ChunkedReleased => {
                let policy = |tokens| (Policy::ChunkedReleased { tokens }, format!("{name} {tokens}"));
                policies.extend(chunks.clone().map(policy));
            }
            SimulatedPolicy::ChunkedDeadline => {
                policies.extend(chunks.clone().map(|tokens| {
                    (Policy::ChunkedDeadline { tbt: Some(unwatched), tokens }, format!("{name} {tokens}"))
                }))
            }
            SimulatedPolicy::Layered => {
                let policy =
                    |groups| Policy::Layered { group_tokens: GROUP_TOKENS, cohort_tokens: COHORT_TOKENS, groups };
                if groups.is_empty() {
                    policies.push((policy(None), name.clone()));
                }
                policies.extend(groups.iter().map(|groups| (policy(Some(*groups)), format!("{name} {groups}"))));
            }
            SimulatedPolicy::LayeredReleased => {
                let groups = if groups.is_empty() { vec![GROUPS.min(layers)] } else { groups.clone() };
                let policy = |groups| Policy::LayeredReleased { cohort_tokens: COHORT_TOKENS, groups };
                policies.extend(groups.into_iter().map(|groups| (policy(groups), format!("{name} {groups}"))));
            }
        }
    }
    Ok(policies)
}

/// A machine by name or file.
fn hardware(name: &str) -> anyhow::Result<Hardware> {
    match is_file(name, "toml") {
        true => Hardware::parse(&read(name)?).with_context(|| name.to_owned()),
        false => Ok(Hardware::named(name)?),
    }
}

/// A workload by name or file.
fn workload(args: &PlanArgs) -> anyhow::Result<Workload> {
    let mut workload = match is_file(&args.workload, "csv") {
        true => Workload::from_csv(&args.workload, &read(&args.workload)?).with_context(|| args.workload.clone())?,
        false => Workload::named(&args.workload)?,
    };
    if !(args.bursts.is_finite() && (1.0..=30.0).contains(&args.bursts)) {
        bail!("--bursts {}: it must be a number from 1 to 30", args.bursts);
    }
    if args.bursts > 1.0 && workload.arrivals == Arrivals::Poisson {
        workload.arrivals = Arrivals::Bursty { variation: args.bursts };
    }
    Ok(workload)
}

/// A model by name or file; what is neither a built-in profile nor a TOML file is a checkpoint.
fn model(name: &str, quiet: bool) -> anyhow::Result<ModelProfile> {
    if is_file(name, "toml") {
        return ModelProfile::parse(&read(name)?).with_context(|| name.to_owned());
    }
    match ModelProfile::named(name) {
        Ok(profile) => Ok(profile),
        Err(unknown) if !Path::new(name).exists() && !name.contains('/') => Err(unknown.into()),
        Err(_) => checkpoint(name, quiet),
    }
}

/// A checkpoint by name or file.
fn checkpoint(name: &str, quiet: bool) -> anyhow::Result<ModelProfile> {
    let source = source::open(Some(name), quiet)?;
    profile(source.name, &source.checkpoint)
}

/// What a checkpoint says of itself.
fn profile(name: String, checkpoint: &Checkpoint) -> anyhow::Result<ModelProfile> {
    let config = read_config(checkpoint).with_context(|| format!("model {name}"))?;
    let summary = inspect(checkpoint)?;
    let experts = config.experts.as_ref();
    let in_experts = experts.map_or(0, |experts| {
        config.layers.saturating_sub(experts.dense_layers) * experts.count * 3 * config.hidden * experts.ffn
    });
    let latent = config.latent.map(|latent| Latent {
        weights: latent.weights(config.hidden, config.heads) as f64,
        kept: (latent.rank + latent.rotated) as f64,
        summed: latent.rank as f64,
    });
    let elsewhere = (summary.parameters as f64 - in_experts as f64).max(1.0);
    let expert_bytes = summary.expert_bytes as f64 / in_experts.max(1) as f64;
    let window = config.windows.iter().flatten().copied().next().unwrap_or(0);
    // Windows come in a pattern that begins with them: one run of them, one of layers without.
    let with = config.windows.iter().take_while(|window| window.is_some()).count();
    let without = config.windows.iter().skip(with).take_while(|window| window.is_none()).count();
    let profile = ModelProfile {
        name,
        layers: config.layers,
        hidden: config.hidden,
        vocab: config.vocab_size,
        q_heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        window,
        window_period: if window > 0 { with + without } else { 0 },
        window_layers: if window > 0 { with } else { 0 },
        experts: experts.map_or(0, |experts| experts.count),
        top_k: experts.map_or(0, |experts| experts.top_k),
        expert_width: experts.map_or(0, |experts| experts.ffn),
        dense_width: experts.map_or(config.ffn, |experts| experts.shared_ffn.unwrap_or(0)),
        weight_bytes: (summary.total_bytes - summary.expert_bytes) as f64 / elsewhere,
        expert_bytes: if in_experts > 0 { expert_bytes } else { 2.0 },
        kv_bytes: 2.0,
        latent,
    };
    Ok(profile.checked()?)
}

fn is_file(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::checkpoint::Gguf;
    use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};

    /// The profile of a made-up model, and how many weights its layers' matrices have in the file: in attention and routers,
    /// in shared experts, and in experts.
    fn profile_and_file(preset: Preset) -> (ModelProfile, [f64; 3]) {
        let file = to_vec(&SynthOptions::new(preset), &byte_tokenizer()).unwrap();
        let checkpoint = Checkpoint::Gguf(Gguf::from_vec(file).unwrap());
        let mut counts = [0.0; 3];
        for tensor in checkpoint.tensors().filter(|tensor| tensor.name.starts_with("blk.1.") && tensor.shape.len() > 1)
        {
            let kind = if tensor.name.contains("_exps") { 2 } else { usize::from(tensor.name.contains("_shexp")) };
            counts[kind] += tensor.elements() as f64;
        }
        (profile("made up".to_owned(), &checkpoint).unwrap(), counts)
    }

    #[test]
    fn latents_and_shared_experts_are_those_of_the_file() {
        for preset in [Preset::Tiny, Preset::TinyGlm4Moe, Preset::TinyDeepSeek2] {
            let (profile, [attention, shared, experts]) = profile_and_file(preset);
            assert_eq!(profile.attention_weights(), attention, "{preset:?}");
            assert_eq!(profile.dense_weights(), shared, "{preset:?}");
            assert_eq!(profile.expert_weights() * profile.experts as f64, experts, "{preset:?}");
        }
        let (profile, _) = profile_and_file(Preset::TinyDeepSeek2);
        let kept = profile.head_dim as f64;
        assert_eq!(
            profile.kv_bytes_per_layer(),
            2.0 * kept,
            "one row of latents and rotated keys, not one for each head"
        );
        assert!(profile.attention_width() < profile.q_heads as f64 * kept);
    }
}
