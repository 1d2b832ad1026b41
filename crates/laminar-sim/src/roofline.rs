//! What a step costs on a machine that is known from its data sheet.
//!
//! A pass of rows over a matrix reads its weights and multiplies them. The two overlap, though not perfectly, so the time of
//! a pass is the root of the sum of both squares: the longer one where they differ, 1.4 times as long where they are equal.
//! What passes share is what the real engine shares: the decode rows of a step join the whole layers of its first tile;
//! everywhere else each runs alone.
//!
//! All layers of a model cost the same but for sliding windows, so a step is priced by counting layers, not by walking them.

use crate::{Hardware, ModelProfile, PlanError, Routing};
use laminar_schedule::{Part, Step, Tile, Work};
use std::ops::{AddAssign, Range};

/// Share of the memory that an engine uses.
const MEMORY_SHARE: f64 = 0.85;

/// Share of that which is left to keys and values where the experts take more than there is.
const KV_SHARE: f64 = 0.1;

/// Exchanges between devices in a layer: behind attention and behind the feed-forward stage.
const EXCHANGES: f64 = 2.0;

/// Bytes of a value between devices and between kernels.
const VALUE_BYTES: f64 = 2.0;

/// What a step or a part of it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Seconds in expert kernels.
    pub experts_s: f64,
    /// Seconds in attention kernels, products with their matrices excluded.
    pub attention_s: f64,
    /// All other seconds on the devices.
    pub other_s: f64,
    /// Seconds of the host.
    pub host_s: f64,
    /// Bytes read by all devices.
    pub bytes: f64,
    /// Bytes of expert weights among them.
    pub expert_bytes: f64,
    /// Operations on all devices.
    pub operations: f64,
    /// Distinct experts that prefill rows touch, summed over layers.
    pub prefill_loads: f64,
    /// Distinct experts that any row touches, summed over layers.
    pub loads: f64,
}

impl Cost {
    /// Seconds in all.
    pub fn seconds(&self) -> f64 {
        self.experts_s + self.attention_s + self.other_s + self.host_s
    }

    fn times(self, times: f64) -> Self {
        Self {
            experts_s: self.experts_s * times,
            attention_s: self.attention_s * times,
            other_s: self.other_s * times,
            host_s: self.host_s * times,
            bytes: self.bytes * times,
            expert_bytes: self.expert_bytes * times,
            operations: self.operations * times,
            prefill_loads: self.prefill_loads * times,
            loads: self.loads * times,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.experts_s += other.experts_s;
        self.attention_s += other.attention_s;
        self.other_s += other.other_s;
        self.host_s += other.host_s;
        self.bytes += other.bytes;
        self.expert_bytes += other.expert_bytes;
        self.operations += other.operations;
        self.prefill_loads += other.prefill_loads;
        self.loads += other.loads;
    }
}

/// Which positions a layer's rows see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    All,
    Window,
}

/// Rows that go through a stage together. Both fields of a pair: for layers that see everything, and for those with a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rows {
    count: f64,
    /// As many strangers touch as many experts.
    strangers: f64,
    /// Pairs of a row and a position it attends to.
    attended: [f64; 2],
    /// Positions whose keys and values are read.
    cached: [f64; 2],
}

impl AddAssign for Rows {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.strangers += other.strangers;
        for sight in 0..2 {
            self.attended[sight] += other.attended[sight];
            self.cached[sight] += other.cached[sight];
        }
    }
}

/// A model on a machine, neither of them here.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    hardware: Hardware,
    model: ModelProfile,
    routing: Routing,
    /// Share of the expert weights that is not in memory.
    missing: f64,
    kv_tokens: usize,
}

impl Roofline {
    /// Puts a model on a machine. Experts that the memory cannot hold stay on its disk.
    ///
    /// # Errors
    ///
    /// The memory cannot even hold what every row needs.
    pub fn new(hardware: Hardware, model: ModelProfile, routing: Routing) -> Result<Self, PlanError> {
        let memory = hardware.devices as f64 * hardware.memory_gb * 1e9 * MEMORY_SHARE;
        let per_token = model.kv_bytes_per_layer() * model.layers as f64;
        let (dense, experts) = (model.dense_store(), model.expert_store());
        let whole = dense + experts + KV_SHARE * memory <= memory;
        let kv = if whole { memory - dense - experts } else { KV_SHARE * memory };
        let resident = if whole { experts } else { memory - dense - kv };
        let kv_tokens = (kv / per_token) as usize;
        if resident < 0.0 || (experts == 0.0 && !whole) || kv_tokens < 1024 {
            return Err(PlanError::TooLarge {
                model: model.name.clone(),
                hardware: format!("{} x {}", hardware.devices, hardware.name),
                needed_gb: dense / 1e9,
                memory_gb: memory / 1e9,
            });
        }
        let missing = if experts > 0.0 { 1.0 - resident / experts } else { 0.0 };
        Ok(Self { hardware, model, routing, missing, kv_tokens })
    }

    /// The machine.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The model.
    pub fn model(&self) -> &ModelProfile {
        &self.model
    }

    /// Positions whose keys and values fit beside the weights.
    pub fn kv_tokens(&self) -> usize {
        self.kv_tokens
    }

    /// Share of the expert weights that is read from disk each time.
    pub fn missing(&self) -> f64 {
        self.missing
    }

    /// Watts of all devices whatever they do.
    pub fn static_watts(&self) -> f64 {
        self.hardware.devices as f64 * self.hardware.power.static_watts
    }

    /// Joules of a step beyond the static ones.
    pub fn joules(&self, cost: &Cost) -> f64 {
        let power = &self.hardware.power;
        (cost.bytes * power.picojoules_per_byte + cost.operations * power.picojoules_per_operation) * 1e-12
    }

    /// What a step costs.
    pub fn step(&self, step: &Step) -> Cost {
        let host = &self.hardware.host;
        let decode = self.decode_rows(step);
        let mut cost = Cost::default();
        let (mut alone, mut alone_windowed) = (self.model.layers, self.windowed(0..self.model.layers));
        let mut sequences = step.decode.len();
        let (mut sampled, mut prompt_rows) = (step.decode.len(), 0);
        for (number, tile) in step.tiles.iter().enumerate() {
            let all = self.rows_of(tile, 0..tile.rows());
            prompt_rows += tile.rows();
            sequences += tile.members.len();
            for part in tile.parts((self.model.experts > 0).then_some(self.model.experts)) {
                match part {
                    Part::Layers(layers) => {
                        let shared = if number == 0 { decode } else { Rows::default() };
                        let windowed = self.windowed(layers.clone());
                        if number == 0 {
                            alone -= layers.len();
                            alone_windowed -= windowed;
                        }
                        cost += self.layers(layers.len(), windowed, all, shared);
                    }
                    Part::Attention { layer, rows } => {
                        let rows = self.rows_of(tile, rows);
                        cost += self.attention(rows, Rows::default(), self.sight(layer));
                        cost += self.launches(rows.count, 0.5);
                    }
                    Part::FeedForward { units, .. } => cost += self.some_units(tile, all, units),
                }
            }
            if tile.to.layer >= self.model.layers {
                sampled += tile.members.iter().filter(|member| member.ends_prompt && !member.dropped).count();
            }
        }
        if decode.count > 0.0 {
            cost += self.layers(alone, alone_windowed, Rows::default(), decode);
        }
        if sampled > 0 {
            cost += self.dense(self.model.head_weights(), sampled as f64);
        }
        let per_step = host.step_us + host.sequence_us * sequences as f64 + host.prompt_row_us * prompt_rows as f64;
        cost.host_s += per_step * 1e-6;
        cost
    }

    fn windowed(&self, layers: Range<usize>) -> usize {
        self.model.windowed_below(layers.end) - self.model.windowed_below(layers.start)
    }

    fn sight(&self, layer: usize) -> Sight {
        if self.windowed(layer..layer + 1) > 0 { Sight::Window } else { Sight::All }
    }

    fn decode_rows(&self, step: &Step) -> Rows {
        let window = self.model.window;
        let (mut all, mut seen) = (0, 0);
        for row in &step.decode {
            all += row.position + 1;
            seen += (row.position + 1).min(window);
        }
        let (all, seen, count) = (all as f64, seen as f64, step.decode.len() as f64);
        Rows { count, strangers: count, attended: [all, seen], cached: [all, seen] }
    }

    /// The rows of a tile within a range, those of dropped members left out.
    fn rows_of(&self, tile: &Tile, range: Range<usize>) -> Rows {
        let window = self.model.window;
        let (mut found, mut first) = (Rows::default(), 0);
        for member in &tile.members {
            let begin = range.start.clamp(first, first + member.rows);
            let count = range.end.clamp(begin, first + member.rows) - begin;
            if !member.dropped && count > 0 {
                let start = member.start + begin - first;
                // Rows below the window see all before them, the others as much as the window has.
                let growing = window.saturating_sub(start).min(count);
                let windowed = Work::context_of(start, growing) + ((count - growing) * window) as f64;
                found += Rows {
                    count: count as f64,
                    strangers: self.routing.strangers(count),
                    attended: [Work::context_of(start, count), windowed],
                    cached: [(start + count) as f64, (start + count).min(window + count) as f64],
                };
            }
            first += member.rows;
        }
        found
    }

    /// Prefill and decode rows together through so many layers, some of them with a window.
    fn layers(&self, count: usize, windowed: usize, prefill: Rows, decode: Rows) -> Cost {
        let mut cost = Cost::default();
        if count == 0 {
            return cost;
        }
        for (sight, count) in [(Sight::All, count - windowed), (Sight::Window, windowed)] {
            if count > 0 {
                cost += self.attention(prefill, decode, sight).times(count as f64);
            }
        }
        let mut both = prefill;
        both += decode;
        let mut layer = self.feed_forward(both.count, both.strangers);
        layer.prefill_loads = self.touched(prefill.strangers);
        layer += self.launches(both.count, 1.0);
        cost += layer.times(count as f64);
        cost
    }

    /// What a pass costs beside its products: launches, exchanges between devices, and the rows' values in memory.
    fn launches(&self, rows: f64, share: f64) -> Cost {
        let Self { hardware, model, .. } = self;
        let devices = hardware.devices as f64;
        let hidden = rows * model.hidden as f64 * VALUE_BYTES;
        // Every device has all of the hidden values, and its share of queries, keys and values.
        let heads = rows * model.attention_values() * VALUE_BYTES / devices;
        // A ring: each device sends nearly all of the sum twice, in parts.
        let exchanged = hidden * 2.0 * (devices - 1.0) / devices;
        let mut seconds = hardware.kernels.layer_us * 1e-6;
        if hardware.devices > 1 {
            seconds += EXCHANGES * (hardware.link_us * 1e-6 + exchanged / (hardware.link_gbs * 1e9));
        }
        let passed = (hidden + heads) * hardware.kernels.row_passes;
        seconds += passed / (hardware.bandwidth_gbs * 1e9);
        // Time alone: what these passes stand for hits caches more than memory, so it is not counted as read.
        Cost { other_s: seconds * share, ..Cost::default() }
    }

    /// One layer's attention stage, products with its matrices included.
    fn attention(&self, prefill: Rows, decode: Rows, sight: Sight) -> Cost {
        let Self { hardware, model, .. } = self;
        let (kernels, devices) = (&hardware.kernels, hardware.devices as f64);
        let sight = sight as usize;
        let per_pair = 4.0 * model.attention_width();
        let (prefill_ops, decode_ops) = (per_pair * prefill.attended[sight], per_pair * decode.attended[sight]);
        let kv = model.kv_bytes_per_layer();
        let (prefill_kv, decode_kv) = (kv * prefill.cached[sight], kv * decode.cached[sight]);
        let compute = kernels.attention_compute * hardware.matmul_tflops * 1e12 * devices;
        let read = kernels.kv_read * hardware.bandwidth_gbs * 1e9 * devices;
        let mut cost = self.dense(model.attention_weights(), prefill.count + decode.count);
        // Prompt rows and decode rows each have a kernel of their own.
        if prefill.count > 0.0 {
            cost.attention_s += kernels.attention_us * 1e-6 + (prefill_ops / compute).hypot(prefill_kv / read);
        }
        if decode.count > 0.0 {
            cost.attention_s += (decode_ops / compute).hypot(decode_kv / read);
        }
        cost.operations += prefill_ops + decode_ops;
        cost.bytes += prefill_kv + decode_kv;
        cost
    }

    /// One layer's feed-forward stage.
    fn feed_forward(&self, rows: f64, strangers: f64) -> Cost {
        let mut cost = Cost::default();
        if self.model.dense_width > 0 {
            cost += self.dense(self.model.dense_weights(), rows);
        }
        if self.model.experts > 0 {
            cost += self.experts(rows, self.touched(strangers));
        }
        cost
    }

    fn touched(&self, strangers: f64) -> f64 {
        let experts = self.model.experts;
        if experts == 0 { 0.0 } else { experts as f64 * self.routing.coverage(experts, self.model.top_k, strangers) }
    }

    /// So many rows through so many distinct experts.
    fn experts(&self, rows: f64, loads: f64) -> Cost {
        let Self { hardware, model, .. } = self;
        let (kernels, devices) = (&hardware.kernels, hardware.devices as f64);
        let bytes = loads * model.expert_weights() * model.expert_bytes;
        let operations = 2.0 * model.expert_weights() * rows * model.top_k as f64;
        let read = bytes * (1.0 - self.missing) / (kernels.expert_read * hardware.bandwidth_gbs * 1e9 * devices)
            + bytes * self.missing / (hardware.disk.bandwidth_gbs * 1e9);
        let compute = operations / (kernels.expert_compute * hardware.matmul_tflops * 1e12 * devices);
        // A row's hidden values are read for each of its experts, and what comes out is written and summed up; in between, gate
        // and up are written, read, multiplied and read again. Each device has its share of the width. Time alone, as in
        // `launches`.
        let values = (3 * model.hidden) as f64 + (6 * model.expert_width) as f64 / devices;
        let moved =
            rows * model.top_k as f64 * values * VALUE_BYTES / (kernels.dense_read * hardware.bandwidth_gbs * 1e9);
        Cost {
            experts_s: read.hypot(compute + moved),
            bytes,
            expert_bytes: bytes,
            operations,
            loads,
            ..Cost::default()
        }
    }

    /// A part of one layer's feed-forward stage. Experts have their even share of the work.
    fn some_units(&self, tile: &Tile, all: Rows, units: Range<usize>) -> Cost {
        let experts = self.model.experts;
        let (mut cost, rows) = match experts {
            0 => {
                let rows = self.rows_of(tile, units);
                (self.feed_forward(rows.count, 0.0), rows.count)
            }
            _ => {
                let share = units.len() as f64 / experts as f64;
                (self.feed_forward(all.count, all.strangers).times(share), all.count * share)
            }
        };
        cost.prefill_loads = cost.loads;
        cost += self.launches(rows, 0.5);
        cost
    }

    /// So many rows over one matrix outside the experts.
    fn dense(&self, weights: f64, rows: f64) -> Cost {
        if rows == 0.0 {
            return Cost::default();
        }
        let (hardware, devices) = (&self.hardware, self.hardware.devices as f64);
        let (bytes, operations) = (weights * self.model.weight_bytes, 2.0 * weights * rows);
        let read = bytes / (hardware.kernels.dense_read * hardware.bandwidth_gbs * 1e9 * devices);
        let compute = operations / (hardware.kernels.dense_compute * hardware.matmul_tflops * 1e12 * devices);
        Cost { other_s: read.hypot(compute), bytes, operations, ..Cost::default() }
    }
}

#[cfg(test)]
#[path = "roofline/tests.rs"]
mod tests;
