//! `laminar models`: the model families that can be opened, from the registry that opens them.

use std::io::{self, Write};

use laminar_model::arch::{FAMILIES, Family};
use serde::Serialize;

use crate::cli::ModelsArgs;

/// One family, as `--json` shows it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// Published models.
    models: &'static str,
    /// `general.architecture` of GGUF files.
    gguf: &'static str,
    /// `model_type` of Hugging Face folders.
    safetensors: &'static [&'static str],
    features: &'static [&'static str],
    /// What its results are compared with in the tests.
    checked_against: &'static [&'static str],
}

impl From<&Family> for Row {
    fn from(family: &Family) -> Self {
        Self {
            name: family.name,
            models: family.models,
            gguf: family.gguf_architecture,
            safetensors: family.hf_model_types,
            features: family.features,
            checked_against: family.checked_against,
        }
    }
}

/// Prints a table, or with `--json` an array of objects.
pub fn models(args: &ModelsArgs) -> anyhow::Result<()> {
    let rows: Vec<Row> = FAMILIES.iter().map(|family| Row::from(*family)).collect();
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut stdout, &rows).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        write_table(&mut stdout, &rows)?;
    }
    stdout.flush()?;
    Ok(())
}

fn write_table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "{:<12}{:<12}{:<31}{:<26}models", "family", "GGUF", "Hugging Face", "checked against")?;
    for row in rows {
        let (types, checked) = (row.safetensors.join(", "), row.checked_against.join(", "));
        writeln!(out, "{:<12}{:<12}{types:<31}{checked:<26}{}", row.name, row.gguf, row.models)?;
        writeln!(out, "{:<12}{}", "", row.features.join(", "))?;
    }
    Ok(())
}
