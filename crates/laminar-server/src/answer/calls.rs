//! Tool calls in the text of an answer, in the spellings of several model families.

use std::sync::Arc;

use serde_json::Value;

use super::object::{ObjectScanner, Progress, Said};
use super::value::{Step, ValueScanner};
use super::xml::XmlScanner;
use super::{Piece, add, overlap};

/// How a family of models spells its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and 3.
    Hermes,
    /// The whole answer is `{"name": ..., "parameters": {...}}`: Llama 3.
    Llama,
    /// `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, or in newer models `[TOOL_CALLS]name[ARGS]{...}`: Mistral.
    Mistral,
    /// `<tool_call><function=...><parameter=...>...</parameter></function></tool_call>`: Qwen 3 Coder.
    QwenXml,
}

impl Dialect {
    /// What begins a call; for Llama, what may stand before it.
    pub(crate) fn opening(self) -> &'static str {
        match self {
            Dialect::Hermes | Dialect::QwenXml => "<tool_call>",
            Dialect::Llama => "<|python_tag|>",
            Dialect::Mistral => "[TOOL_CALLS]",
        }
    }

    /// What ends a call, if anything does but the call itself.
    fn closing(self) -> &'static str {
        match self {
            Dialect::Hermes | Dialect::QwenXml => "</tool_call>",
            Dialect::Llama | Dialect::Mistral => "",
        }
    }
}

/// Between a Mistral call's name and its arguments.
pub(crate) const MISTRAL_ARGUMENTS: &str = "[ARGS]";
/// Between a Mistral call's name and its id, which is not ours to use.
pub(crate) const MISTRAL_ID: &str = "[CALL_ID]";

#[derive(Debug)]
enum State {
    /// Nothing but white space yet, where a bare object may begin (Llama).
    Start,
    /// Outside calls.
    Text,
    /// Behind an opening tag.
    Opened,
    /// In the name of a Mistral call.
    Name,
    /// In the arguments behind that name.
    Value(ValueScanner),
    /// In an object.
    Object(ObjectScanner),
    /// In tags.
    Xml(Box<XmlScanner>),
    /// Behind a call.
    After,
}

/// Finds calls in text that arrives in pieces.
#[derive(Debug)]
pub(super) struct CallParser {
    dialect: Dialect,
    tools: Arc<[Value]>,
    state: State,
    /// Text that is not decided yet: a beginning of a tag, or a call's name.
    pending: String,
    /// A call so far, to be shown as text if it turns out to be none; empty once its name is out.
    raw: String,
    /// White space that is shown only if text follows, and not a call.
    spaces: String,
    /// Whether the list of a Mistral answer is open.
    in_list: bool,
    /// There was a call; white space between calls is no text.
    behind_call: bool,
}

impl CallParser {
    pub(super) fn new(dialect: Dialect, tools: Arc<[Value]>) -> CallParser {
        CallParser {
            dialect,
            tools,
            state: if dialect == Dialect::Llama { State::Start } else { State::Text },
            pending: String::new(),
            raw: String::new(),
            spaces: String::new(),
            in_list: false,
            behind_call: false,
        }
    }

    pub(super) fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.pending.push_str(text);
        while self.step(out) {}
    }

    /// Shows what was held back. A call that was cut off stays a call if its name is out.
    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) {
        match &self.state {
            State::Xml(_) | State::Object(_) | State::Name | State::Opened | State::Start => {
                let raw = std::mem::take(&mut self.raw) + &std::mem::take(&mut self.pending);
                let named = matches!(&self.state, State::Object(object) if object.is_named())
                    || matches!(&self.state, State::Xml(xml) if xml.is_named());
                if !named {
                    self.state = State::Text;
                    self.text(&raw, out);
                }
            }
            State::Value(_) => {}
            State::Text | State::After => {
                let rest = std::mem::take(&mut self.pending);
                self.text(&rest, out);
            }
        }
        if !self.behind_call {
            let spaces = std::mem::take(&mut self.spaces);
            add(out, Piece::Content(spaces));
        }
    }

    /// Text outside calls; white space at its end waits, and vanishes beside a call.
    fn text(&mut self, text: &str, out: &mut Vec<Piece>) {
        let text = if self.behind_call { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.spaces.push_str(text);
        let spaces = self.spaces.split_off(self.spaces.trim_end().len());
        let shown = std::mem::replace(&mut self.spaces, spaces);
        if !shown.is_empty() {
            self.behind_call = false;
            add(out, Piece::Content(shown));
        }
    }

    /// One step through the pending text; false when it needs more.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Start => self.start(out),
            State::Text => self.find_opening(out),
            State::Opened => self.opened(out),
            State::Name => self.name(out),
            State::Value(_) => self.value(out),
            State::Object(_) => self.object(out),
            State::Xml(_) => self.xml(out),
            State::After => self.after(out),
        }
    }

    fn find_opening(&mut self, out: &mut Vec<Piece>) -> bool {
        let tag = self.dialect.opening();
        if let Some(at) = self.pending.find(tag) {
            let rest = self.pending.split_off(at);
            let text = std::mem::replace(&mut self.pending, rest[tag.len()..].to_owned());
            self.text(&text, out);
            self.raw = tag.to_owned();
            self.state = State::Opened;
            return true;
        }
        let rest = self.pending.split_off(self.pending.len() - overlap(&self.pending, tag));
        let text = std::mem::replace(&mut self.pending, rest);
        self.text(&text, out);
        false
    }

    /// Where Llama may begin an object or its tag.
    fn start(&mut self, out: &mut Vec<Piece>) -> bool {
        let trimmed = self.pending.trim_start();
        if trimmed.is_empty() || self.dialect.opening().starts_with(trimmed) && trimmed != self.dialect.opening() {
            return false;
        }
        if trimmed.starts_with('{') {
            self.take_spaces();
            self.state = State::Object(ObjectScanner::new());
        } else if trimmed.starts_with(self.dialect.opening()) {
            self.state = State::Text;
        } else {
            // Text in the first place stays text; behind a call there may be anything.
            self.state = State::Text;
            let text = std::mem::take(&mut self.raw);
            self.text(&text, out);
        }
        true
    }

    /// Moves white space from the front of the pending text to what is shown if there is no call.
    fn take_spaces(&mut self) {
        let rest = self.pending.split_off(self.pending.len() - self.pending.trim_start().len());
        self.raw.push_str(&std::mem::replace(&mut self.pending, rest));
    }

    fn opened(&mut self, _out: &mut Vec<Piece>) -> bool {
        self.take_spaces();
        let Some(first) = self.pending.chars().next() else {
            return false;
        };
        self.state = match (self.dialect, first) {
            (Dialect::QwenXml, _) => State::Xml(Box::new(XmlScanner::new(Arc::clone(&self.tools)))),
            (Dialect::Mistral, '[') if !self.in_list => {
                self.in_list = true;
                self.raw.push(first);
                self.pending.remove(0);
                State::Opened
            }
            (Dialect::Mistral, first) if first != '{' && !self.in_list => State::Name,
            _ => State::Object(ObjectScanner::new()),
        };
        true
    }

    /// The name of a Mistral call, and what stands between it and its arguments.
    fn name(&mut self, out: &mut Vec<Piece>) -> bool {
        match named(&self.pending) {
            Named::Open => return false,
            Named::Wrong => self.give_up(out),
            Named::Call { name, arguments } => {
                let name = self.pending[..name].to_owned();
                self.pending.drain(..arguments);
                self.raw.clear();
                self.begin_call(name, out);
                self.state = State::Value(ValueScanner::default());
            }
        }
        true
    }

    fn value(&mut self, out: &mut Vec<Piece>) -> bool {
        let State::Value(scanner) = &mut self.state else {
            return false;
        };
        let mut taken = 0;
        let mut step = Step::Inside;
        for (at, c) in self.pending.char_indices() {
            step = scanner.push(c);
            taken = at + c.len_utf8();
            if step != Step::Inside {
                break;
            }
        }
        let rest = self.pending.split_off(taken);
        add(out, Piece::Arguments(std::mem::replace(&mut self.pending, rest)));
        if step == Step::Inside {
            return false;
        }
        self.state = State::After;
        true
    }

    fn object(&mut self, out: &mut Vec<Piece>) -> bool {
        let State::Object(scanner) = &mut self.state else {
            return false;
        };
        let mut said = Vec::new();
        let was_named = scanner.is_named();
        let (mut taken, mut progress) = (0, Progress::More);
        for (at, c) in self.pending.char_indices() {
            progress = scanner.push(c, &mut said);
            taken = at + c.len_utf8();
            if progress != Progress::More {
                break;
            }
        }
        let named = scanner.is_named();
        let rest = self.pending.split_off(taken);
        let part = std::mem::replace(&mut self.pending, rest);
        if !was_named {
            self.raw.push_str(&part);
        }
        let calls_a_tool = |said: &Said| match said {
            Said::Name(name) => self.tools.iter().any(|tool| tool["function"]["name"] == name.as_str()),
            Said::Arguments(_) => true,
        };
        // Without a tag, an object that names no tool is an answer in JSON.
        if self.dialect == Dialect::Llama && !said.iter().all(calls_a_tool) {
            self.give_up(out);
            return true;
        }
        self.say(said, out);
        self.progressed(progress, named, out)
    }

    fn xml(&mut self, out: &mut Vec<Piece>) -> bool {
        let State::Xml(scanner) = &mut self.state else {
            return false;
        };
        let mut said = Vec::new();
        let before = self.pending.clone();
        let progress = scanner.push(&mut self.pending, &mut said);
        let named = scanner.is_named();
        if !named {
            self.raw.push_str(&before[..before.len() - self.pending.len()]);
        }
        self.say(said, out);
        self.progressed(progress, named, out)
    }

    fn progressed(&mut self, progress: Progress, named: bool, out: &mut Vec<Piece>) -> bool {
        match progress {
            Progress::More => return false,
            Progress::Wrong if !named => self.give_up(out),
            Progress::Complete | Progress::Wrong => {
                self.raw.clear();
                self.state = State::After;
            }
        }
        true
    }

    fn say(&mut self, said: Vec<Said>, out: &mut Vec<Piece>) {
        for said in said {
            match said {
                Said::Name(name) => {
                    self.raw.clear();
                    self.begin_call(name, out);
                }
                Said::Arguments(text) => add(out, Piece::Arguments(text)),
            }
        }
    }

    fn begin_call(&mut self, name: String, out: &mut Vec<Piece>) {
        // White space before a call is no text.
        self.spaces.clear();
        self.behind_call = true;
        out.push(Piece::Call { name });
    }

    /// It was no call: what was read of it is text, and its opening tag does not count again.
    fn give_up(&mut self, out: &mut Vec<Piece>) {
        let raw = std::mem::take(&mut self.raw);
        self.state = State::Text;
        self.in_list = false;
        self.text(&raw, out);
    }

    /// Behind a call: its closing tag, a separator, the next call or text.
    fn after(&mut self, _out: &mut Vec<Piece>) -> bool {
        let trimmed = self.pending.trim_start();
        let Some(first) = trimmed.chars().next() else {
            return false;
        };
        let closing = self.dialect.closing();
        if !closing.is_empty() {
            if let Some(rest) = trimmed.strip_prefix(closing) {
                self.pending = rest.to_owned();
                self.state = State::Text;
            } else if closing.starts_with(trimmed) {
                return false;
            } else if trimmed.starts_with(['}', ']']) {
                // One bracket too many is a common slip.
                self.pending = trimmed[1..].to_owned();
            } else {
                self.state = State::Text;
            }
            return true;
        }
        match (self.dialect, first) {
            (Dialect::Mistral, ',') if self.in_list => self.state = State::Opened,
            (Dialect::Mistral, ']') if self.in_list => {
                self.in_list = false;
                self.state = State::Text;
            }
            (Dialect::Llama, ';' | ',') => self.state = State::Start,
            (Dialect::Llama, '{') => {
                self.state = State::Start;
                return true;
            }
            _ => {
                self.state = State::Text;
                return true;
            }
        }
        self.pending = trimmed[1..].to_owned();
        true
    }
}

/// What stands at the front of a text: a Mistral call's name.
enum Named {
    /// Too little to tell.
    Open,
    /// No name.
    Wrong,
    /// A name of so many bytes, and where the arguments begin.
    Call { name: usize, arguments: usize },
}

fn named(text: &str) -> Named {
    let word = |text: &str| {
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c)).len()
    };
    let name = word(text);
    let mut at = name;
    for (tag, behind) in [(MISTRAL_ID, true), (MISTRAL_ARGUMENTS, false)] {
        let rest = &text[at..];
        if rest.len() < tag.len() && tag.starts_with(rest) {
            return Named::Open;
        }
        if rest.starts_with(tag) {
            at += tag.len();
            at += if behind { word(&text[at..]) } else { 0 };
        }
    }
    let rest = text[at..].trim_start();
    match rest.chars().next() {
        None => Named::Open,
        Some('{') if name > 0 => Named::Call { name, arguments: text.len() - rest.len() },
        Some(_) => Named::Wrong,
    }
}
