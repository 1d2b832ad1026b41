//! `laminar simulate`: the real scheduler on machines that are not here.

mod doc;
mod html;
mod paper;
mod plan;
mod table;

use std::io::{self, Write};

use anyhow::Context;
use laminar_sim::workload::Workload;
use laminar_sim::{Hardware, ModelProfile, Perfetto, run_all, serve};
use serde_json::json;

use crate::cli::{PlanArgs, SimulateArgs, SimulateCommand, SimulatedPolicy};
use crate::progress;
use plan::Case;

/// Runs the command.
pub fn simulate(args: &SimulateArgs, quiet: bool) -> anyhow::Result<()> {
    match &args.command {
        Some(SimulateCommand::List { json }) => list(*json),
        Some(SimulateCommand::Paper(paper)) => paper::paper(paper, quiet),
        None => plan(&args.plan, quiet),
    }
}

/// Runs all combinations and prints them.
fn plan(args: &PlanArgs, quiet: bool) -> anyhow::Result<()> {
    let cases = plan::cases(args, quiet)?;
    let bar = progress::Count::new("simulating", cases.len(), quiet);
    let jobs: Vec<_> = cases.iter().map(|case| case.job.clone()).collect();
    let figures = run_all(&jobs, &|| bar.step())?;
    drop(bar);
    let runs: Vec<_> = cases.iter().zip(figures).collect();
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(args, &runs)).with_context(|| path.display().to_string())?;
    }
    if let (Some(path), Some(case)) = (&args.perfetto, cases.first()) {
        std::fs::write(path, trace(case, args.perfetto_duration.as_secs_f64())?)
            .with_context(|| path.display().to_string())?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        let runs: Vec<_> =
            runs.iter().map(|(case, figures)| json!({ "case": case.label, "figures": figures })).collect();
        let all =
            json!({ "model": plan::model_name(&cases), "workload": args.workload, "seed": args.seed, "runs": runs });
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        table::write(&mut out, args, &runs)?;
    }
    out.flush()?;
    Ok(())
}

/// The first seconds of a case as a trace.
fn trace(case: &Case, seconds: f64) -> anyhow::Result<String> {
    let job = &case.job;
    let requests = job.workload.requests(job.rate, job.seconds, job.seed)?;
    let shown: Vec<_> = requests.into_iter().take_while(|request| request.arrival_s < seconds).collect();
    let mut trace = Perfetto::new(job.server.roofline.model().layers, seconds);
    serve(&job.server, &shown, |moment| trace.step(&moment))?;
    Ok(trace.finish())
}

/// `laminar simulate list`.
fn list(json: bool) -> anyhow::Result<()> {
    let machines = Hardware::names().map(Hardware::named).collect::<Result<Vec<_>, _>>()?;
    let models = ModelProfile::names().map(ModelProfile::named).collect::<Result<Vec<_>, _>>()?;
    let policies = <SimulatedPolicy as clap::ValueEnum>::value_variants();
    let policies: Vec<String> = policies.iter().map(|policy| plan::policy_name(*policy)).collect();
    let mut out = io::stdout().lock();
    if json {
        let workloads: Vec<_> = Workload::names().collect();
        let all = json!({ "hardware": machines, "models": models, "workloads": workloads, "policies": policies });
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "hardware")?;
    for machine in &machines {
        writeln!(out, "  {:<18}{}", machine.name, machine.about)?;
    }
    writeln!(out, "\nmodels")?;
    for model in &models {
        let size = (model.dense_store() + model.expert_store()) / 1e9;
        let kind = match model.experts {
            0 => "dense".to_owned(),
            experts => format!("{experts} experts, {} a row", model.top_k),
        };
        writeln!(out, "  {:<18}{} layers, {kind}, {size:.1} GB", model.name, model.layers)?;
    }
    writeln!(out, "\nworkloads")?;
    Workload::names().try_for_each(|name| writeln!(out, "  {name}"))?;
    writeln!(out, "\npolicies")?;
    policies.iter().try_for_each(|name| writeln!(out, "  {name}"))?;
    out.flush()?;
    Ok(())
}
