//! From flags to a running engine: checkpoint, tokenizer, template, weights.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use laminar_engine::{Engine, EngineConfig};
use laminar_kernels::Pool;
use laminar_model::arch::read_config;
use laminar_model::tokenizer::Tokenizer;
use laminar_model::{KvType, LoadOptions, Model, StatedPooling, stated_pooling};
use laminar_schedule::{Policy, Targets};
use laminar_server::template::ChatTemplate;

use crate::cli::{Chunk, EngineArgs, KvTypeName, PolicyName};
use crate::progress;
use crate::source::{self, Source};

/// The default context is the model's own up to here. KV memory is only used
/// as sequences fill it, so this engine_use the address space, not the memory.
const DEFAULT_CONTEXT_LIMIT: usize = 32_768;

/// Prompt tokens that one layer group is worth under `layered` (the paper's
/// choice), and the most prompt tokens that move through the layers together
/// under any policy that bounds them.
const GROUP_TOKENS: usize = 512;
const COHORT_TOKENS: usize = 8_192;

/// A model that is ready to answer.
pub struct Ready {
    /// The engine's handle.
    pub engine: Engine,
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// How the model says that the rows of a text become a vector, if it does.
    pub pooling: Option<StatedPooling>,
    /// File stem, folder name or hub id.
    pub name: String,
    /// Longest context, in tokens.
    pub context: usize,
    /// Time from opening the checkpoint to here.
    pub load_time: Duration,
}

/// What a command decides about its engine, beside the flags that all of them have.
pub struct EngineUse {
    /// Sequences that run at once.
    pub max_sequences: usize,
    /// Requests that may wait beside them.
    pub max_waiting: usize,
    /// Whether prompts share the KV blocks of equal beginnings.
    pub prefix_cache: bool,
}

/// Loads the model and starts the engine.
pub fn start(args: &EngineArgs, engine_use: EngineUse, quiet: bool) -> anyhow::Result<Ready> {
    let source = source::open(args.model.as_deref(), quiet)?;
    let began = Instant::now();
    let in_model = || format!("model {}", source.name);
    // Everything that can be refused at a glance comes before the weights.
    let shape = read_config(&source.checkpoint).with_context(in_model)?;
    let context = context_length(args, shape.context_length, shape.longest_context())?;
    let policy = policy(args)?;
    let packed_cache = packed_cache(args)?;
    let tokenizer = Tokenizer::from_checkpoint(&source.checkpoint).with_context(in_model)?;
    let template = ChatTemplate::from_tokenizer(&tokenizer).with_context(in_model)?;
    let pooling = stated_pooling(&source.checkpoint).with_context(in_model)?;

    let pool = Pool::new(threads(args.threads));
    let kv_type = kv_type(args.kv_type);
    let model = load(&source, &pool, kv_type, Some(context), packed_cache.as_deref(), quiet)?;
    tokenizer.check_vocab(model.vocab_size()).with_context(in_model)?;
    let tokenizer = Arc::new(tokenizer);
    let EngineUse { max_sequences, max_waiting, prefix_cache } = engine_use;
    let config = EngineConfig { policy, max_sequences, context, max_waiting, kv_type, kv_blocks: None, prefix_cache };
    let engine = Engine::start(model, Arc::clone(&tokenizer), pool, config)?;
    Ok(Ready {
        // Little memory can make it shorter than asked.
        context: engine.context(),
        engine,
        tokenizer,
        template,
        pooling,
        name: source.name,
        load_time: began.elapsed(),
    })
}

/// Loads a model's weights behind a progress bar.
///
/// `context` is the longest sequence that will be run, if that is not the model's own; `packed_cache` is a folder for packed weights, if they are to be kept.
pub fn load(
    source: &Source,
    pool: &Pool,
    kv_type: KvType,
    context: Option<usize>,
    packed_cache: Option<&Path>,
    quiet: bool,
) -> anyhow::Result<Model> {
    let bar = progress::Bytes::new(&format!("loading {}", source.name), quiet);
    let on_progress = |done, total| bar.update(done, total);
    let on_written = |done, total| {
        bar.rename(&format!("keeping packed weights of {}", source.name));
        bar.update(done, total);
    };
    let options = LoadOptions {
        kv: kv_type,
        context,
        progress: Some(&on_progress),
        packed_cache,
        cache_progress: packed_cache.is_some().then_some(&on_written),
    };
    Model::load(&source.checkpoint, pool, &options).with_context(|| format!("model {}", source.name))
}

/// `--packed-cache`: the folder that was given, or one for all models of this user.
fn packed_cache(args: &EngineArgs) -> anyhow::Result<Option<PathBuf>> {
    match &args.packed_cache {
        None => Ok(None),
        Some(Some(folder)) => Ok(Some(folder.clone())),
        Some(None) => {
            let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let caches = caches.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
            let caches =
                caches.context("--packed-cache: this user has no home folder; give one, --packed-cache=DIR")?;
            Ok(Some(caches.join("laminar").join("packed")))
        }
    }
}

/// `--threads`, or as many as there are cores.
pub fn threads(wanted: Option<NonZeroUsize>) -> usize {
    match wanted {
        Some(threads) => threads.get(),
        None => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
    }
}

/// `--kv-type`.
pub fn kv_type(name: KvTypeName) -> KvType {
    match name {
        KvTypeName::F16 => KvType::F16,
        KvTypeName::F32 => KvType::F32,
        KvTypeName::Q8_0 => KvType::Q8_0,
    }
}

/// `--ctx`, checked against the model.
fn context_length(args: &EngineArgs, usual: usize, longest: usize) -> anyhow::Result<usize> {
    match args.ctx.map(|tokens| tokens.get()) {
        None => Ok(usual.min(DEFAULT_CONTEXT_LIMIT)),
        Some(tokens) if tokens <= longest => Ok(tokens),
        Some(tokens) => {
            bail!("--ctx {tokens}: the model was made for at most {longest} tokens; use --ctx {longest} or less")
        }
    }
}

/// The policy with its settings. A target that nobody would keep is refused rather than forgotten.
fn policy(args: &EngineArgs) -> anyhow::Result<Policy> {
    let EngineArgs { tbt_target: tbt, ttft_target: ttft, .. } = *args;
    let (keeps_tbt, keeps_ttft) = match (args.policy, args.chunk) {
        (PolicyName::Adaptive, _) => (true, true),
        (PolicyName::Chunked, Chunk::Auto) => (true, false),
        _ => (false, false),
    };
    if tbt.is_some() && !keeps_tbt {
        bail!("--tbt-target: only --policy adaptive and --policy chunked --chunk auto keep it; use one of them");
    }
    if ttft.is_some() && !keeps_ttft {
        bail!("--ttft-target: only --policy adaptive keeps it; use that");
    }
    if let (Some(tbt), Some(ttft)) = (tbt, ttft)
        && tbt > ttft
    {
        bail!(
            "--tbt-target {tbt:?} is longer than --ttft-target {ttft:?}; the first token takes at least as long as one"
        );
    }
    Ok(match args.policy {
        PolicyName::Adaptive => Policy::Adaptive { targets: Targets { tbt, ttft }, cohort_tokens: COHORT_TOKENS },
        PolicyName::Layered => {
            Policy::Layered { group_tokens: GROUP_TOKENS, cohort_tokens: COHORT_TOKENS, groups: None }
        }
        PolicyName::Chunked => match args.chunk {
            Chunk::Auto => Policy::ChunkedDeadline { tbt, tokens: COHORT_TOKENS },
            Chunk::Tokens(tokens) => Policy::Chunked { tokens: tokens.get() },
        },
        PolicyName::Whole => Policy::Whole,
    })
}
