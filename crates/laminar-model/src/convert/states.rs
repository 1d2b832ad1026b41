//! The tensors and keys of layers that keep a state, as llama.cpp names and orders them.
//!
//! Folders have value heads beside the others of their key head. Qwen3.5's files have them in turns: the first one of every
//! key head, then the second ones. Qwen3-Next's folders have all that belongs to a key head together, its files queries, keys,
//! values and gates each for themselves. Rates are logarithms in folders and numbers in files.

use laminar_kernels::{RecurrentRule, RecurrentShape};

use super::ConvertError;
use super::planned::{Order, Planned};
use crate::checkpoint::{Tensor, Value};
use crate::config::{ModelConfig, RecurrentConfig};
use crate::stored::Stored;

/// Layers with a state, as the file has them.
pub(super) struct States {
    pub shape: RecurrentShape,
    pub taps: usize,
}

impl States {
    /// Those of the model that a file says it has.
    pub fn of(config: &ModelConfig) -> Option<Self> {
        config.recurrent.as_ref().map(|recurrent| Self { shape: recurrent.shape, taps: recurrent.taps })
    }

    /// Whether a tensor of such a layer has anything to do with the state.
    pub fn has(stem: &str) -> bool {
        stem.starts_with("ssm_") || matches!(stem, "attn_qkv" | "attn_gate")
    }

    /// A matrix of layer `layer`, or what it is cut into.
    ///
    /// # Errors
    /// A matrix of another shape than the configuration says.
    pub fn matrix<'a>(
        &self,
        layer: usize,
        stem: &str,
        name: &str,
        stored: Stored<'a>,
    ) -> Result<Vec<Planned<'a>>, ConvertError> {
        let shape = &self.shape;
        let (channels, width, heads) = (shape.channels(), shape.value_width(), shape.value_heads);
        let (rows, cols) = stored.shape();
        let expected = match (stem, shape.rule) {
            ("ssm_in", RecurrentRule::Delta) => (channels + width, cols),
            ("ssm_in", RecurrentRule::Sum) => (width + channels + heads, cols),
            ("ssm_ba", _) => (2 * heads, cols),
            ("attn_qkv", _) => (channels, cols),
            ("attn_gate", _) => (width, cols),
            ("ssm_alpha" | "ssm_beta", _) => (heads, cols),
            _ => (rows, width),
        };
        if (rows, cols) != expected {
            return Err(misshapen(name, &[rows, cols]));
        }
        let planned = |stem: &str, order: Order, stored: Stored<'a>| {
            let rows = if let Order::Rows(listed) = &order { listed.len() } else { rows };
            let name = format!("blk.{layer}.{stem}.weight");
            Planned { order, ..Planned::stored(name, vec![rows, cols], vec![stored]) }
        };
        Ok(match (stem, shape.rule) {
            ("ssm_in", RecurrentRule::Delta) => {
                let (mixed, gates) = self.by_key_head();
                vec![
                    planned("attn_qkv", Order::Rows(mixed), stored.clone()),
                    planned("attn_gate", Order::Rows(gates), stored),
                ]
            }
            ("attn_qkv", _) => vec![planned(stem, listed(self.channels(), Order::Rows), stored)],
            ("attn_gate", _) => vec![planned(stem, listed(self.values(shape.value_dim), Order::Rows), stored)],
            ("ssm_alpha" | "ssm_beta", _) => vec![planned(stem, listed(self.values(1), Order::Rows), stored)],
            ("ssm_out", _) => vec![planned(stem, listed(self.values(shape.value_dim), Order::Columns), stored)],
            _ => vec![planned(stem, Order::Same, stored)],
        })
    }

    /// The few numbers of a tensor that is no matrix of weights. `None` for one that files have no place for.
    ///
    /// # Errors
    /// A tensor of another shape than the configuration says, or one that cannot be read.
    pub fn numbers<'a>(
        &self,
        layer: usize,
        stem: &str,
        suffix: &str,
        tensor: &Tensor<'_>,
    ) -> Result<Option<Planned<'a>>, ConvertError> {
        let shape = &self.shape;
        let (channels, heads, taps) = (shape.channels(), shape.value_heads, self.taps);
        // Mamba's numbers of heads are a column, and its norm is a row for each group of heads.
        let sums = shape.rule == RecurrentRule::Sum;
        let by_head = if sums { vec![heads, 1] } else { vec![heads] };
        let norm = if sums { vec![1, shape.value_width()] } else { vec![shape.value_dim] };
        let (ending, stored, written) = match (stem, suffix) {
            ("ssm_a" | "ssm_d", "") => ("", vec![heads], by_head),
            ("ssm_dt", "") => (".bias", vec![heads], vec![heads]),
            ("ssm_conv1d", ".weight") => (suffix, vec![channels, 1, taps], vec![channels, taps]),
            ("ssm_conv1d", ".bias") => (suffix, vec![channels], vec![channels]),
            ("ssm_norm", ".weight") => (suffix, vec![norm.iter().product()], norm),
            _ => return Ok(None),
        };
        if tensor.shape != stored {
            return Err(misshapen(tensor.name, &tensor.shape));
        }
        let mut values = tensor.to_f32()?;
        if stem == "ssm_a" {
            values.iter_mut().for_each(|rate| *rate = -rate.exp());
        }
        let rows = match stem {
            "ssm_norm" => (0..1).collect(),
            "ssm_conv1d" => self.channels(),
            _ => self.values(1),
        };
        let cols = values.len() / rows.len().max(1);
        let in_order = rows.iter().filter_map(|row| values.get(row * cols..(row + 1) * cols));
        let values = in_order.flatten().copied().collect();
        Ok(Some(Planned::values(format!("blk.{layer}.{stem}{ending}"), written, values)))
    }

    /// Where each number of the value heads is in a folder, with `width` numbers to a head.
    fn values(&self, width: usize) -> Vec<usize> {
        let &RecurrentShape { key_heads, value_heads, in_turns, .. } = &self.shape;
        let each = value_heads / key_heads;
        let stored = |head: usize| if in_turns { head % key_heads * each + head / key_heads } else { head };
        (0..value_heads).flat_map(|head| stored(head) * width..(stored(head) + 1) * width).collect()
    }

    /// Where each channel of the convolution is in a folder.
    fn channels(&self) -> Vec<usize> {
        let first = match self.shape.rule {
            RecurrentRule::Delta => 2 * self.shape.key_heads * self.shape.key_dim,
            // Values come first, and no file has them in turns.
            RecurrentRule::Sum => return (0..self.shape.channels()).collect(),
        };
        (0..first).chain(self.values(self.shape.value_dim).into_iter().map(|at| first + at)).collect()
    }

    /// Where queries, keys and values, and where gates are among rows that have them key head by key head.
    fn by_key_head(&self) -> (Vec<usize>, Vec<usize>) {
        let &RecurrentShape { key_heads, key_dim, .. } = &self.shape;
        let values = self.shape.value_width() / key_heads;
        let all = 2 * (key_dim + values);
        let keys = |first: usize| (0..key_heads).flat_map(move |head| head * all + first..head * all + first + key_dim);
        let behind = |first: usize| {
            let at = move |at: usize| at / values * all + first + at % values;
            self.values(self.shape.value_dim).into_iter().map(at)
        };
        (keys(0).chain(keys(key_dim)).chain(behind(2 * key_dim)).collect(), behind(2 * key_dim + values).collect())
    }
}

/// An order by places, or none where everything is where it was.
fn listed(places: Vec<usize>, order: impl Fn(Vec<usize>) -> Order) -> Order {
    if places.iter().enumerate().all(|(at, place)| at == *place) { Order::Same } else { order(places) }
}

fn misshapen(name: &str, shape: &[usize]) -> ConvertError {
    ConvertError::tensor(name, format!("the shape {shape:?} does not fit the configuration"))
}

/// The keys about layers with a state, without the architecture's name.
pub(crate) fn keys(recurrent: &RecurrentConfig) -> Vec<(&'static str, Value)> {
    let shape = &recurrent.shape;
    let mut keys: Vec<(&'static str, Value)> = [
        ("ssm.conv_kernel", recurrent.taps),
        ("ssm.state_size", shape.key_dim),
        ("ssm.group_count", shape.key_heads),
        ("ssm.time_step_rank", shape.value_heads),
        ("ssm.inner_size", shape.value_width()),
    ]
    .into_iter()
    .map(|(key, size)| (key, Value::from(size as u32)))
    .collect();
    // Files of the other rule say which layers have keys and values.
    if shape.rule == RecurrentRule::Delta {
        keys.push(("attention.recurrent_layers", recurrent.layers.clone().into()));
        keys.extend(interval(&recurrent.layers).map(|interval| ("full_attention_interval", (interval as u32).into())));
    }
    keys
}

/// How far apart layers with attention are, for readers that know no list.
fn interval(layers: &[bool]) -> Option<usize> {
    let fits = |interval: &usize| layers.iter().enumerate().all(|(i, kept)| *kept != (i + 1).is_multiple_of(*interval));
    (1..=layers.len()).find(fits)
}

/// Whether llama.cpp takes the values of states for as wide as they are, in a model of width `hidden`.
pub(super) fn has_usual_width(recurrent: &RecurrentConfig, hidden: usize) -> bool {
    let shape = &recurrent.shape;
    match shape.rule {
        RecurrentRule::Delta => shape.value_dim == shape.key_dim,
        RecurrentRule::Sum => shape.value_width() == 2 * hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::HfFolder;

    const SHAPE: RecurrentShape = RecurrentShape {
        rule: RecurrentRule::Delta,
        key_heads: 2,
        value_heads: 6,
        key_dim: 1,
        value_dim: 2,
        in_turns: true,
    };

    #[test]
    fn value_heads_come_in_turns() {
        let states = States { shape: SHAPE, taps: 2 };
        assert_eq!(states.values(1), [0, 3, 1, 4, 2, 5]);
        assert_eq!(states.values(2), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        // Two queries and two keys stay where they are.
        assert_eq!(states.channels()[..8], [0, 1, 2, 3, 4, 5, 10, 11]);
        let beside = States { shape: RecurrentShape { in_turns: false, ..SHAPE }, taps: 2 };
        assert_eq!(listed(beside.values(2), Order::Rows), Order::Same);
        // One value head to a key head has no turns to take.
        let single = States { shape: RecurrentShape { value_heads: 2, ..SHAPE }, taps: 2 };
        assert_eq!(listed(single.channels(), Order::Rows), Order::Same);
    }

    #[test]
    fn rows_by_key_head_come_apart() {
        let states = States {
            shape: RecurrentShape { value_heads: 4, key_dim: 2, value_dim: 1, in_turns: false, ..SHAPE },
            taps: 2,
        };
        // A key head has two numbers of a query, two of a key, two values and two gates.
        let (mixed, gates) = states.by_key_head();
        assert_eq!(mixed, [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13]);
        assert_eq!(gates, [6, 7, 14, 15]);
    }

    #[test]
    fn an_interval_is_named_where_there_is_one() {
        assert_eq!(interval(&[true, true, true, false, true, true, true, false]), Some(4));
        assert_eq!(interval(&[true, true, true, false, true]), Some(4));
        assert_eq!(interval(&[false, false]), Some(1));
        assert_eq!(interval(&[true, true, false, false, true]), None);
        // Longer than there are layers.
        assert_eq!(interval(&[true, true]), None);
    }

    #[test]
    fn a_convolution_follows_its_channels_and_rates_lose_their_logarithm() {
        // 16 channels of 2 taps, and a rate for each of 6 heads.
        let numbers: Vec<f32> = (0..38).map(|i| i as f32 / 8.0).collect();
        let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = |shape: &[usize], at: usize| {
            let len = shape.iter().product::<usize>();
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &data[4 * at..4 * (at + len)])
                .unwrap()
        };
        let bytes = safetensors::serialize([("conv", view(&[16, 1, 2], 0)), ("rates", view(&[6], 32))], None).unwrap();
        let folder = HfFolder::from_memory(serde_json::json!({}), bytes).unwrap();
        let states = States { shape: SHAPE, taps: 2 };
        let planned = |name: &str, stem: &str, suffix: &str| {
            let planned = states.numbers(3, stem, suffix, &folder.tensor(name).unwrap()).unwrap().unwrap();
            let (mut values, mut buffer) = (Vec::new(), Vec::new());
            planned.read(0..planned.elements(), &mut values, &mut buffer).unwrap();
            (planned.name, planned.shape, values)
        };
        let (name, shape, values) = planned("conv", "ssm_conv1d", ".weight");
        assert_eq!((name.as_str(), shape), ("blk.3.ssm_conv1d.weight", vec![16, 2]));
        let channels = states.channels();
        let expected: Vec<f32> = channels.iter().flat_map(|c| [numbers[2 * c], numbers[2 * c + 1]]).collect();
        assert_eq!(values, expected);
        let (name, shape, values) = planned("rates", "ssm_a", "");
        assert_eq!((name.as_str(), shape), ("blk.3.ssm_a", vec![6]));
        let expected: Vec<f32> = [32, 35, 33, 36, 34, 37].map(|at: usize| -numbers[at].exp()).to_vec();
        assert_eq!(values, expected);
        // Not the shape that the configuration says.
        assert!(states.numbers(3, "ssm_dt", "", &folder.tensor("conv").unwrap()).is_err());
        assert!(states.numbers(3, "ssm_dt", ".weight", &folder.tensor("rates").unwrap()).unwrap().is_none());
    }
}
