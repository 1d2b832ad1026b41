//! The calls of an answer as Lark rules, in the spelling of the model's family: what a grammar that forces calls is made of.

use laminar_engine::Grammar;
use serde_json::{Map, Value, json};

use crate::answer::{Dialect, deepseek, gemma4, glm, granite, harmony, hermes, invoke, kimi, mistral, phi, xml};
use crate::error::ApiError;
use crate::family::Family;
use crate::openai::tools::Tools;

/// Lark rules in the making, and the grammars that they refer to by name.
#[derive(Default)]
pub(crate) struct Rules {
    /// The rules, one a line.
    pub(crate) text: String,
    /// The grammars.
    pub(crate) inner: Vec<(String, Grammar)>,
}

/// How the arguments of a family's calls are written.
enum Form {
    /// As one JSON object, between these two.
    Object(String, String),
    /// One by one.
    Fields(Fields),
}

/// Arguments that are written one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    /// `<parameter=key>` and so on.
    Xml,
    /// `<arg_key>` and so on.
    Glm,
    /// `key=value, ...`.
    Python,
    /// `key:value,...`.
    Gemma4,
    /// `<parameter name="key">` and so on.
    Invoke(&'static invoke::Tags),
}

/// What ends a text between tags.
struct End {
    /// All of it, in Lark.
    tag: String,
    /// Its beginning up to a control token, as a regular expression, and what is left of it, in Lark. The text before a control
    /// token, which is no text itself, ends by itself.
    control: Option<(&'static str, String)>,
    /// What a text of limited length may not hold, as a regular expression.
    regex: &'static str,
}

impl End {
    fn new(family: &Family, tag: &str, regex: &'static str) -> End {
        let whole = family.lark(tag);
        let control = match tag.strip_prefix("</").map(|rest| family.lark(rest)) {
            _ if whole.starts_with('<') => Some(("", whole.clone())),
            Some(rest) if rest.starts_with('<') => Some(("<\\/", rest)),
            _ => None,
        };
        End { tag: whole, control, regex }
    }
}

impl Rules {
    /// Adds the rules of the calls and returns the name of theirs.
    pub(crate) fn calls(&mut self, family: &Family, tools: &Tools) -> String {
        let mut names = Vec::new();
        for place in &tools.callable {
            let call = match form(family, tools.name(*place)) {
                Form::Object(open, close) => {
                    let arguments = format!("arguments{place}");
                    self.inner.push((arguments.clone(), Grammar::Json(tools.schema(*place))));
                    format!("{open} @{arguments} {close}")
                }
                Form::Fields(fields) => self.call_of_fields(family, fields, tools, *place),
            };
            self.text += &format!("call{place}: {call}\n");
            names.push(format!("call{place}"));
        }
        self.text += &format!("call: {}\n", names.join(" | "));
        let (open, separator, close) = around(family);
        let calls = match tools.parallel && family.dialect != Dialect::Harmony {
            true => format!("call ({separator} call)*"),
            false => "call".to_owned(),
        };
        self.text += &format!("calls: {open} {calls} {close}\n");
        "calls".to_owned()
    }

    /// A call whose arguments are written one by one: in the order of the schema, those that are not required optional.
    fn call_of_fields(&mut self, family: &Family, fields: Fields, tools: &Tools, place: usize) -> String {
        let schema = tools.schema(place);
        let name = tools.name(place);
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let required = |key: &String| schema["required"].as_array().into_iter().flatten().any(|name| name == key);
        let values = properties.iter().enumerate().map(|(number, (key, property))| {
            let rule = format!("value{place}x{number}");
            let value = match fields {
                Fields::Python => {
                    format!("{} {}", quoted(&format!("{key}=")), self.python_value(&rule, property, &schema))
                }
                Fields::Gemma4 => {
                    let quote = family.lark(gemma4::QUOTE);
                    let key = match gemma4::is_plain(key) {
                        true => quoted(&format!("{key}:")),
                        false => format!("{quote} {} {quote} \":\"", quoted(key)),
                    };
                    format!("{key} {}", self.gemma4_value(family, &rule, property, &schema))
                }
                Fields::Xml => {
                    let open = quoted(&format!("<parameter={key}>\n"));
                    let end = End::new(family, "\n</parameter>\n", "<\\/parameter>");
                    format!("{open} {}", self.tagged_value(&rule, property, &schema, &end))
                }
                Fields::Invoke(tags) => {
                    let open = family.lark(&tags.open(key, property["type"] == "string"));
                    let end = End::new(family, &format!("{}\n", tags.parameter_end), tags.parameter_end_regex);
                    format!("{open} {}", self.tagged_value(&rule, property, &schema, &end))
                }
                Fields::Glm => {
                    let ((open, close), (open_value, close_value)) = (glm::KEY, glm::VALUE);
                    let (open, close) = (family.lark(open), family.lark(close));
                    let end = End::new(family, close_value, "<\\/arg_value>");
                    let value = self.tagged_value(&rule, property, &schema, &end);
                    format!("{open} {} {close} \"\\n\" {} {value} \"\\n\"", quoted(key), family.lark(open_value))
                }
            };
            (value, required(key))
        });
        let values: Vec<(String, bool)> = values.collect();
        match fields {
            Fields::Python => format!("{} {} \")\"", quoted(&format!("{name}(")), self.listed(place, &values, ", ")),
            Fields::Gemma4 => {
                let (open, close) = tags_of_fields(family);
                let (open, close) = (family.lark(open), family.lark(close));
                let head = quoted(&format!("{}{name}{{", gemma4::HEAD));
                format!("{open} {head} {} \"}}\" {close}", self.listed(place, &values, ","))
            }
            Fields::Invoke(tags) => {
                let (open, close) = (format!("{}{name}\">\n", tags.call), format!("{}\n", tags.call_end));
                format!("{} {} {}", family.lark(&open), each(values), family.lark(&close))
            }
            Fields::Xml | Fields::Glm => {
                let (open, close) = tags_of_fields(family);
                let (open, close) = (family.lark(open), family.lark(close));
                let (head, end) = match fields {
                    Fields::Xml => (format!("\n<function={name}>\n"), "\"</function>\\n\""),
                    _ => (format!("{name}\n"), ""),
                };
                format!("{open} {} {} {end} {close}", quoted(&head), each(values))
            }
        }
    }

    /// Values with commas between them, of which the optional ones may be missing.
    fn listed(&mut self, place: usize, values: &[(String, bool)], comma: &str) -> String {
        // What may stand from a value on while none stands before it, and behind one; from the last value to the first.
        let (mut first, mut further) = (String::new(), String::new());
        for (number, (value, required)) in values.iter().enumerate().rev() {
            let alone = format!("{value} {further}");
            let rule = format!("from{place}x{number}");
            let choices = match (required, first.is_empty()) {
                (true, _) => alone,
                (false, true) => format!("({alone})?"),
                (false, false) => format!("{alone} | {first}"),
            };
            self.text += &format!("{rule}: {choices}\n");
            first = rule;
            let with_comma = format!("{} {value}", quoted(comma));
            further = match required {
                true => format!("{with_comma} {further}"),
                false => format!("({with_comma})? {further}"),
            };
        }
        first
    }

    /// A value between tags: strings stand without quotes.
    fn tagged_value(&mut self, rule: &str, property: &Value, schema: &Value, end: &End) -> String {
        if property["type"] == "string" && property["enum"].is_null() && property["const"].is_null() {
            self.text += &text_of_tag(rule, property, end);
            return rule.to_owned();
        }
        let grammar = match choice_of_texts(property) {
            Some(texts) => Grammar::Choice(texts),
            None => json_of(property, schema),
        };
        self.inner.push((rule.to_owned(), grammar));
        format!("@{rule} {}", end.tag)
    }

    /// A value in Python; inside brackets JSON's constants are read as well.
    fn python_value(&mut self, rule: &str, property: &Value, schema: &Value) -> String {
        match property["type"].as_str().filter(|_| property["enum"].is_null() && property["const"].is_null()) {
            Some("boolean") => "(\"True\" | \"False\")".to_owned(),
            Some("null") => "\"None\"".to_owned(),
            _ => {
                self.inner.push((rule.to_owned(), json_of(property, schema)));
                format!("@{rule}")
            }
        }
    }

    /// A value of Gemma 4: a string between its own quotes if any text will do, and otherwise JSON, which is read as well.
    fn gemma4_value(&mut self, family: &Family, rule: &str, property: &Value, schema: &Value) -> String {
        let narrowed = ["enum", "const", "pattern", "format"].iter().any(|keyword| !property[*keyword].is_null());
        if property["type"] == "string" && !narrowed {
            let quote = family.lark(gemma4::QUOTE);
            self.text += &text_of_tag(rule, property, &End::new(family, gemma4::QUOTE, "<\\|\"\\|>"));
            return format!("{quote} {rule}");
        }
        self.inner.push((rule.to_owned(), json_of(property, schema)));
        format!("@{rule}")
    }
}

/// The grammar of a property. Its references point into the whole schema.
fn json_of(property: &Value, schema: &Value) -> Grammar {
    let mut property = property.clone();
    for definitions in ["$defs", "definitions"] {
        if let (Some(fields), Some(all)) = (property.as_object_mut(), schema.get(definitions)) {
            fields.insert(definitions.to_owned(), all.clone());
        }
    }
    Grammar::Json(property)
}

/// The rule of a string between its tags: any text up to the closing one, of the length that the schema wants.
fn text_of_tag(name: &str, property: &Value, end: &End) -> String {
    let End { tag, control, regex } = end;
    let is_limited = !(property["minLength"].is_null() && property["maxLength"].is_null());
    let least = property["minLength"].as_u64().unwrap_or(0);
    let most = property["maxLength"].as_u64().map(|most| most.to_string()).unwrap_or_default();
    let text = |least: u64| if is_limited { format!("(.|\\n){{{least},{most}}}") } else { "(.|\\n)*".to_owned() };
    // What is counted would count a closing tag in it too.
    let without = if is_limited { format!(" & ~/(.|\\n)*{regex}(.|\\n)*/") } else { String::new() };
    match control {
        Some(("", rest)) if is_limited => {
            let (terminal, optional) = (name.to_uppercase(), if least == 0 { "?" } else { "" });
            format!("{name}: {terminal}{optional} {rest}\n{terminal}: /{}/{without}\n", text(least.max(1)))
        }
        Some((before, rest)) => format!("{name}: /{}{before}/ {rest}\n", text(least)),
        None => format!("{name}[suffix={tag}]: /{}/{without}\n", text(least)),
    }
}

/// The texts of an enumeration that has no others, or the only one: strings stand in tags without quotes.
fn choice_of_texts(property: &Value) -> Option<Vec<String>> {
    if property["type"] != "string" {
        return None;
    }
    let only = Some(&property["const"]).filter(|text| !text.is_null()).map(std::slice::from_ref);
    let texts = only.or_else(|| property["enum"].as_array().map(Vec::as_slice))?;
    texts.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Values one after the other, those that are not required optional.
fn each(values: Vec<(String, bool)>) -> String {
    let values = values.into_iter().map(|(value, required)| if required { value } else { format!("({value})?") });
    values.collect::<Vec<String>>().join(" ")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// How the arguments of a call are written, and what stands around them.
fn form(family: &Family, name: &str) -> Form {
    use deepseek::{CALL, CALL_END, FENCE, SEPARATOR};
    let lark = |tag: &str| family.lark(tag);
    let object = |key: &str| quoted(&format!("{{\"name\": {}, \"{key}\": ", json!(name)));
    let close = || "\"}\"".to_owned();
    let (open, close) = match family.dialect {
        Dialect::QwenXml => return Form::Fields(Fields::Xml),
        Dialect::Glm => return Form::Fields(Fields::Glm),
        Dialect::Python => return Form::Fields(Fields::Python),
        Dialect::Gemma4 => return Form::Fields(Fields::Gemma4),
        Dialect::MiniMax => return Form::Fields(Fields::Invoke(&invoke::MINIMAX_TAGS)),
        Dialect::Dsml => return Form::Fields(Fields::Invoke(&invoke::DSML_TAGS)),
        Dialect::Kimi => (
            format!(
                "{} {} /[0-9]{{1,3}}/ {}",
                lark(kimi::CALL),
                quoted(&format!("{}{name}:", kimi::FUNCTIONS)),
                lark(kimi::ARGUMENTS)
            ),
            lark(kimi::CALL_END),
        ),
        Dialect::Hermes => (
            format!("{} \"\\n\" {}", lark("<tool_call>"), object("arguments")),
            format!("\"}}\\n\" {}", lark("</tool_call>")),
        ),
        Dialect::Llama | Dialect::Gemma => (object("parameters"), close()),
        Dialect::Mistral if family.mentions(mistral::ARGUMENTS) => {
            let (open, separator) = (lark(mistral::OPEN), lark(mistral::ARGUMENTS));
            (format!("{open} {} {separator}", quoted(name)), String::new())
        }
        Dialect::Mistral | Dialect::Granite | Dialect::Phi => (object("arguments"), close()),
        Dialect::DeepSeek if family.mentions(FENCE) => (
            format!("{} \"function\" {} {}", lark(CALL), lark(SEPARATOR), quoted(&format!("{name}\n{FENCE}\n"))),
            format!("\"\\n```\" {}", lark(CALL_END)),
        ),
        Dialect::DeepSeek => (format!("{} {} {}", lark(CALL), quoted(name), lark(SEPARATOR)), lark(CALL_END)),
        Dialect::Harmony => {
            let to = quoted(&format!("commentary to={}{name} ", harmony::FUNCTIONS));
            let (channel, constrain) = (lark(harmony::CHANNEL), lark(harmony::CONSTRAIN));
            (format!("{channel} {to} {constrain} \"json\" {}", lark(harmony::MESSAGE)), String::new())
        }
    };
    Form::Object(open, close)
}

/// The tags around a call whose arguments are written one by one.
fn tags_of_fields(family: &Family) -> (&'static str, &'static str) {
    match family.dialect {
        Dialect::Gemma4 => (gemma4::OPEN, gemma4::CLOSE),
        Dialect::QwenXml if family.mentions(xml::SEED.0) => xml::SEED,
        _ => (hermes::OPEN, hermes::CLOSE),
    }
}

/// What stands before all calls, between two, and behind them.
fn around(family: &Family) -> (String, &'static str, String) {
    let nothing = String::new;
    let list = |tag: &str| format!("{} \"[\"", family.lark(tag));
    let in_lines = |(open, close): (&str, &str)| (family.lark(&format!("{open}\n")), "", family.lark(close));
    match family.dialect {
        Dialect::Hermes | Dialect::QwenXml | Dialect::Glm | Dialect::Gemma => (nothing(), "\"\\n\"", nothing()),
        Dialect::Llama => (nothing(), "\"; \"", nothing()),
        Dialect::Python => ("\"[\"".to_owned(), "\", \"", "\"]\"".to_owned()),
        Dialect::Mistral if family.mentions(mistral::ARGUMENTS) => (nothing(), "", nothing()),
        Dialect::Mistral => (list(mistral::OPEN), "\", \"", "\"]\"".to_owned()),
        Dialect::Granite => (list(granite::OPEN), "\", \"", "\"]\"".to_owned()),
        Dialect::Phi if family.mentions(phi::WORD) => {
            (quoted(&format!("{}[", phi::WORD)), "\", \"", "\"]\"".to_owned())
        }
        Dialect::Phi => (list(granite::OPEN), "\", \"", format!("\"]\" {}", family.lark(phi::CLOSE))),
        Dialect::DeepSeek => {
            let separator = if family.mentions(deepseek::FENCE) { "\"\\n\"" } else { "" };
            (family.lark(deepseek::OPEN), separator, family.lark(deepseek::CLOSE))
        }
        Dialect::Kimi => (family.lark(kimi::OPEN), "", family.lark(kimi::CLOSE)),
        Dialect::MiniMax => in_lines(invoke::MINIMAX),
        Dialect::Dsml => in_lines(invoke::DSML[usize::from(!family.mentions(invoke::WORD))]),
        Dialect::Harmony | Dialect::Gemma4 => (nothing(), "", nothing()),
    }
}

/// What a schema may say of an object as a whole that cannot be kept where its fields are written one by one.
const OF_THE_WHOLE: [&str; 11] = [
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "minProperties",
    "maxProperties",
];

/// Refuses schemas that cannot be kept in the way a family writes arguments.
///
/// # Errors
/// The keyword, by its path (400).
pub(crate) fn refuse_what_cannot_be_kept(family: &Family, tools: &Tools) -> Result<(), ApiError> {
    let Form::Fields(fields) = form(family, "") else {
        return Ok(());
    };
    let without_quotes = matches!(fields, Fields::Xml | Fields::Glm | Fields::Invoke(_));
    for place in &tools.callable {
        let schema = tools.schema(*place);
        let refuse = |path: &str, keyword: &str, what: &str| {
            let param = format!("tools[{place}].function.parameters{path}.{keyword}");
            let message =
                format!("`{keyword}` of {what} cannot be guaranteed in the way this model writes calls; leave it out");
            Err(ApiError::invalid(param, message))
        };
        if let Some(keyword) = OF_THE_WHOLE.iter().find(|keyword| !schema[**keyword].is_null()) {
            return refuse("", keyword, "the arguments");
        }
        let known = |key: &Value| key.as_str().is_some_and(|key| !schema["properties"][key].is_null());
        if schema["required"].as_array().is_some_and(|keys| !keys.iter().all(known)) {
            return refuse("", "required", "arguments that `properties` do not name");
        }
        for (key, property) in schema["properties"].as_object().into_iter().flatten().filter(|_| without_quotes) {
            // Strings stand between tags, where they have no quotes.
            let keyword = ["pattern", "format"].into_iter().find(|keyword| !property[*keyword].is_null());
            if let Some(keyword) = keyword.filter(|_| property["type"] == "string") {
                return refuse(&format!(".properties.{key}"), keyword, "a string");
            }
        }
    }
    Ok(())
}
