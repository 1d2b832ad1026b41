//! A model whose every token is written down beforehand, so that answers are exact.
//!
//! A [`Script`] maps marks in the prompt to answers. The executor looks for the first mark that the prompt contains and
//! wants the tokens of its answer one after the other, then the end of the turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use laminar_engine::{Batch, Cursor, ExecuteError, Executor, Experts, SequenceId};
use laminar_model::ExpertLoads;
use laminar_model::checkpoint::Metadata;
use laminar_model::synth::byte_tokenizer;
use laminar_model::tokenizer::Tokenizer;

/// Tokens of several bytes that the scripted vocabulary has beside bytes, some of them halves of characters.
const PIECES: &[&[u8]] = &[
    b"ABC",
    b"DEF",
    b"HI",
    b"\xf0\x9f",
    b"\x99\x82",
    b"\xe6\x97",
    b"\xa5\xe6",
    "本".as_bytes(),
    b"<th",
    b"ink>",
    b"</",
    b"<tool",
    b"_call>",
    b">\n",
    b"{\"",
    b"\": \"",
    b"\"}",
    b"name",
    b"arguments",
    b" The",
];

/// Tokens that are always matched as a whole, as in Qwen's vocabulary.
pub const USER_DEFINED: &[&str] = &["<think>", "</think>", "<tool_call>", "</tool_call>"];

/// Control tokens of other families, beside the three of ChatML.
pub const CONTROL: &[&str] = &["[TOOL_CALLS]", "<|python_tag|>", "<|eom_id|>"];

/// The metadata of the scripted vocabulary.
pub fn vocabulary() -> Metadata {
    let mut metadata = byte_tokenizer();
    let mut tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().to_vec();
    let mut types = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    // The first 256 tokens spell the bytes.
    let bytes = tokens[..256].to_vec();
    tokens
        .extend(PIECES.iter().map(|piece| piece.iter().map(|byte| bytes[*byte as usize].as_str()).collect::<String>()));
    types.resize(tokens.len(), 1);
    tokens.extend(USER_DEFINED.iter().map(|text| (*text).to_owned()));
    types.resize(tokens.len(), 4);
    tokens.extend(CONTROL.iter().map(|text| (*text).to_owned()));
    types.resize(tokens.len(), 3);
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.token_type", types);
    metadata
}

/// What the model wants at one place of its answer.
#[derive(Clone, Debug)]
pub enum Want {
    /// This token, far before any other.
    Token(u32),
    /// The bytes of this text one by one, wherever the answer stands in it, and nothing if it has left it.
    Text(Vec<u8>),
    /// Any of these, equally.
    Any(Vec<u32>),
    /// Random logits, a function of this seed and the place.
    Noise(u64),
    /// A step that fails.
    Failure,
}

/// Marks and what the model wants behind them.
type Rules = Vec<(String, Vec<Want>)>;

/// Answers by the mark in the prompt that asks for them; further answers of a mark belong to later sequences with it.
#[derive(Clone)]
pub struct Script {
    tokenizer: Arc<Tokenizer>,
    by_bytes: Arc<HashMap<Vec<u8>, u32>>,
    rules: Arc<Mutex<Rules>>,
}

impl Script {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let ids = 0..tokenizer.vocab_size() as u32;
        let mut by_bytes = HashMap::new();
        for id in ids {
            let bytes = match tokenizer.is_control(id) {
                true => tokenizer.token_text(id).into_bytes(),
                false => tokenizer.token_bytes(id),
            };
            by_bytes.entry(bytes).or_insert(id);
        }
        Script { tokenizer, by_bytes: Arc::new(by_bytes), rules: Arc::default() }
    }

    /// The token that stands for exactly these bytes.
    #[track_caller]
    pub fn token(&self, piece: impl AsRef<[u8]>) -> u32 {
        let piece = piece.as_ref();
        *self.by_bytes.get(piece).unwrap_or_else(|| panic!("no token {:?}", String::from_utf8_lossy(piece)))
    }

    /// The answer to prompts with a mark, token by token.
    #[track_caller]
    pub fn pieces<P: AsRef<[u8]>>(&self, mark: &str, pieces: &[P]) {
        let wants = pieces.iter().map(|piece| Want::Token(self.token(piece))).collect();
        self.wants(mark, wants);
    }

    /// The answer to prompts with a mark, byte by byte.
    pub fn bytes(&self, mark: &str, text: &str) {
        self.wants(mark, vec![Want::Text(text.into())]);
    }

    /// The answer to prompts with a mark, in the tokens that `dice` chooses among those that fit.
    pub fn cut(&self, mark: &str, text: &str, mut dice: impl FnMut(usize) -> usize) {
        let mut rest = text.as_bytes();
        let mut wants = Vec::new();
        while !rest.is_empty() {
            let fitting: Vec<usize> =
                (1..=rest.len().min(12)).filter(|length| self.by_bytes.contains_key(&rest[..*length])).collect();
            let length = fitting[dice(fitting.len())];
            wants.push(Want::Token(self.token(&rest[..length])));
            rest = &rest[length..];
        }
        self.wants(mark, wants);
    }

    /// The answer to prompts with a mark; a later rule for the same mark replaces it.
    pub fn wants(&self, mark: &str, wants: Vec<Want>) {
        let mut rules = self.rules.lock().unwrap();
        rules.retain(|(known, _)| known != mark);
        rules.push((mark.to_owned(), wants));
    }

    /// Takes the rule of a mark back.
    pub fn forget(&self, mark: &str) {
        self.rules.lock().unwrap().retain(|(known, _)| known != mark);
    }

    fn row(&self, prompt: &[u32], answer: &[u32]) -> Result<Vec<f32>, ExecuteError> {
        let text = self.tokenizer.decode(prompt, false);
        let place = answer.len();
        let rules = self.rules.lock().unwrap();
        let wants = rules.iter().find(|(mark, _)| text.contains(mark.as_str())).map(|(_, wants)| wants);
        let want = wants.and_then(|wants| {
            wants.get(place).or(match wants.last() {
                // Noise goes on for ever, and a text as long as it is.
                Some(endless @ (Want::Noise(_) | Want::Text(_))) => Some(endless),
                _ => None,
            })
        });
        let mut row = vec![0.0; self.tokenizer.vocab_size()];
        match want {
            Some(Want::Token(id)) => row[*id as usize] = 20.0,
            Some(Want::Text(text)) => {
                let so_far: Vec<u8> = answer.iter().flat_map(|id| self.tokenizer.token_bytes(*id)).collect();
                let next = text.strip_prefix(so_far.as_slice()).and_then(<[u8]>::first);
                row[next.map_or(self.tokenizer.eos().unwrap() as usize, |byte| usize::from(*byte))] = 20.0;
            }
            Some(Want::Any(ids)) => ids.iter().for_each(|id| row[*id as usize] = 20.0),
            Some(Want::Noise(seed)) => {
                for (id, logit) in row.iter_mut().enumerate() {
                    *logit = noise(*seed, place as u64, id as u64);
                }
            }
            Some(Want::Failure) => return Err("the script says so".into()),
            None => row[self.tokenizer.eos().unwrap() as usize] = 20.0,
        }
        Ok(row)
    }
}

/// A number between -4 and 4 (SplitMix64's finaliser).
fn noise(seed: u64, place: u64, id: u64) -> f32 {
    let mut z = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(id << 32 | id);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 * 8.0 - 4.0
}

/// The rows of one step: prompt rows and decode rows.
pub type Steps = Arc<Mutex<Vec<(usize, usize)>>>;

/// Executes a script.
pub struct Scripted {
    pub script: Script,
    /// The prompt and the answer of each sequence, and where the answer begins.
    sequences: BTreeMap<SequenceId, (Vec<u32>, usize)>,
    pub steps: Steps,
    /// What each step takes, so that clients can be seen to wait.
    pub pace: Duration,
}

pub const LAYERS: usize = 4;

impl Scripted {
    pub fn new(script: Script, pace: Duration) -> Self {
        Scripted { script, sequences: BTreeMap::new(), steps: Steps::default(), pace }
    }
}

impl Executor for Scripted {
    fn layers(&self) -> usize {
        LAYERS
    }

    fn experts(&self) -> Option<Experts> {
        None
    }

    fn vocab_size(&self) -> usize {
        self.script.tokenizer.vocab_size()
    }

    fn block_len(&self) -> usize {
        16
    }

    fn kv_blocks(&self) -> usize {
        16 * 1024
    }

    fn execute(&mut self, batch: &mut Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        std::thread::sleep(self.pace);
        let rows = batch.tiles.iter().flat_map(|tile| &tile.members).map(|member| member.rows).sum();
        self.steps.lock().unwrap().push((rows, batch.decode.len()));
        for row in &batch.decode {
            if let Some((tokens, _)) = self.sequences.get_mut(&row.sequence) {
                tokens.push(row.token);
            }
        }
        for tile in batch.tiles.iter().filter(|tile| tile.from == Cursor::at_layer(0)) {
            for member in tile.members.iter().filter(|member| !member.dropped) {
                let (tokens, prompt) = self.sequences.entry(member.sequence).or_default();
                tokens.extend_from_slice(member.tokens);
                *prompt = tokens.len();
            }
        }
        logits.clear();
        for (sequence, _) in batch.sampling(LAYERS) {
            let (tokens, prompt) = self.sequences.get(&sequence).ok_or("an unknown sequence")?;
            let (prompt, answer) = tokens.split_at(*prompt);
            logits.extend(self.script.row(prompt, answer)?);
        }
        Ok(ExpertLoads::default())
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}
