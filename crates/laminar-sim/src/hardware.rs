//! What a machine can do, as a TOML file says it.
//!
//! The first half of a profile is the data sheet. `[kernels]` says what share of it the kernels reach, `[host]` what a step
//! costs beside them, `[power]` what the devices draw, `[disk]` how fast weights come that do not fit the memory.

use crate::PlanError;
use serde::{Deserialize, Serialize};

/// Profiles that are built in: name and text.
const BUILT_IN: [(&str, &str); 6] = [
    ("h100-sxm", include_str!("../profiles/hardware/h100-sxm.toml")),
    ("h200", include_str!("../profiles/hardware/h200.toml")),
    ("h200-slow-host", include_str!("../profiles/hardware/h200-slow-host.toml")),
    ("a100-80g", include_str!("../profiles/hardware/a100-80g.toml")),
    ("rtx-4090", include_str!("../profiles/hardware/rtx-4090.toml")),
    ("epyc-2core", include_str!("../profiles/hardware/epyc-2core.toml")),
];

/// A machine: some equal devices that share every layer (tensor parallelism).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Name in lists and reports.
    pub name: String,
    /// One line on what it is and where its numbers come from.
    pub about: String,
    /// Devices that run each layer together.
    pub devices: usize,
    /// Memory of a device, in 10^9 bytes.
    pub memory_gb: f64,
    /// Bytes that a device reads from its memory, in 10^9 a second.
    pub bandwidth_gbs: f64,
    /// Operations of matrix products on a device, in 10^12 a second; a multiplication and an addition are two.
    pub matmul_tflops: f64,
    /// Bytes that a device sends to another, in 10^9 a second.
    pub link_gbs: f64,
    /// Microseconds of an exchange between devices beside its bytes.
    pub link_us: f64,
    /// What the kernels reach of it.
    pub kernels: Kernels,
    /// What steps cost beside the kernels.
    pub host: Host,
    /// What the devices draw.
    pub power: Power,
    /// Where weights lie that do not fit the memory.
    pub disk: Disk,
}

/// Shares of the data sheet's values, and costs that no data sheet has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernels {
    /// Share of the memory's speed at which expert weights are read.
    pub expert_read: f64,
    /// Share of the operations in expert products.
    pub expert_compute: f64,
    /// Microseconds of one pass through a layer that depend on neither rows nor weights: launches, barriers, routing.
    pub layer_us: f64,
    /// Microseconds of each call of attention for prompt rows in a layer beside its work: small chunks do not fill the device.
    pub attention_us: f64,
    /// How often a row's values (hidden, queries, keys, values) pass the memory in a layer beside the products: norms,
    /// rotations, sums, copies.
    pub row_passes: f64,
    /// Share of the memory's speed at which all other weights are read.
    pub dense_read: f64,
    /// Share of the operations in all other products.
    pub dense_compute: f64,
    /// Share of the operations in attention.
    pub attention_compute: f64,
    /// Share of the memory's speed at which keys and values are read.
    pub kv_read: f64,
}

/// Microseconds of the host, while the devices wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// In every step.
    pub step_us: f64,
    /// For every sequence of a step.
    pub sequence_us: f64,
    /// For every prompt row of a step, however few layers it passes in it.
    pub prompt_row_us: f64,
}

/// Energy of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Watts whatever it does, clocks up.
    pub static_watts: f64,
    /// For a byte that is read.
    pub picojoules_per_byte: f64,
    /// For an operation.
    pub picojoules_per_operation: f64,
}

/// A store below the memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Bytes read, in 10^9 a second, by all devices together.
    pub bandwidth_gbs: f64,
}

impl Hardware {
    /// Names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A built-in profile.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Self, PlanError> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| PlanError::unknown("hardware", name, Self::names()))?;
        Self::parse(text)
    }

    /// A profile out of TOML.
    ///
    /// # Errors
    ///
    /// A field that is missing, unknown or out of range.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let profile: Self = toml::from_str(text).map_err(|error| PlanError::Profile(error.message().to_owned()))?;
        profile.check()?;
        Ok(profile)
    }

    /// The same with another number of devices.
    pub fn with_devices(self, devices: usize) -> Self {
        Self { devices, ..self }
    }

    fn check(&self) -> Result<(), PlanError> {
        let Self { kernels, host, power, .. } = self;
        let above = [
            ("memory_gb", self.memory_gb),
            ("bandwidth_gbs", self.bandwidth_gbs),
            ("matmul_tflops", self.matmul_tflops),
            ("link_gbs", self.link_gbs),
            ("disk.bandwidth_gbs", self.disk.bandwidth_gbs),
            ("kernels.expert_read", kernels.expert_read),
            ("kernels.expert_compute", kernels.expert_compute),
            ("kernels.dense_read", kernels.dense_read),
            ("kernels.dense_compute", kernels.dense_compute),
            ("kernels.attention_compute", kernels.attention_compute),
            ("kernels.kv_read", kernels.kv_read),
        ];
        let least = [
            ("link_us", self.link_us),
            ("kernels.layer_us", kernels.layer_us),
            ("kernels.attention_us", kernels.attention_us),
            ("kernels.row_passes", kernels.row_passes),
            ("host.step_us", host.step_us),
            ("host.sequence_us", host.sequence_us),
            ("host.prompt_row_us", host.prompt_row_us),
            ("power.static_watts", power.static_watts),
            ("power.picojoules_per_byte", power.picojoules_per_byte),
            ("power.picojoules_per_operation", power.picojoules_per_operation),
        ];
        if self.devices == 0 || self.devices > 1024 {
            return Err(PlanError::Profile("devices must be 1 to 1024".to_owned()));
        }
        if let Some((field, _)) = above.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err(PlanError::Profile(format!("{field} must be a number above 0")));
        }
        if let Some((field, _)) = least.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Err(PlanError::Profile(format!("{field} must be a number, at least 0")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_parses_and_has_its_name() {
        for name in Hardware::names() {
            assert_eq!(Hardware::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn a_profile_says_what_is_wrong_with_it() {
        let text = BUILT_IN[0].1;
        let zero = text.replace("bandwidth_gbs = 3350.0", "bandwidth_gbs = 0.0");
        assert!(Hardware::parse(&zero).unwrap_err().to_string().contains("bandwidth_gbs"));
        let unknown = text.replace("link_us", "link_microseconds");
        assert!(Hardware::parse(&unknown).unwrap_err().to_string().contains("link_microseconds"));
        assert!(Hardware::named("h1000").unwrap_err().to_string().contains("h100-sxm"));
    }
}
