//! Chat templates against `transformers` (`tools/reference/template_fixtures.py` records what it renders), and hostile
//! ones against the clock.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use laminar_model::checkpoint::Gguf;
use laminar_model::tokenizer::Tokenizer;
use laminar_server::answer::Dialect;
use laminar_server::family::Family;
use laminar_server::markers::Markers;
use laminar_server::prompt::Chat;
use laminar_server::template::{ChatTemplate, TemplateError};
use serde_json::{Map, Value, json};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// The template in SmolLM2's GGUF file, if `tools/models` has fetched that.
fn smollm2() -> Option<String> {
    let folder = std::env::var_os("LAMINAR_TEST_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"), PathBuf::from);
    let path = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        println!("skipped SmolLM2's template: {} is not there", path.display());
        return None;
    }
    let file = Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
    assert!(ChatTemplate::from_tokenizer(&tokenizer).unwrap().is_some());
    Some(tokenizer.chat_template().unwrap().to_owned())
}

/// The templates of a folder by name.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let templates = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jinja"));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    templates.map(read).collect()
}

/// Renders all cases of a fixture with these templates, and says how many there were.
fn check(fixture: &Value, sources: BTreeMap<String, String>, extra: &Value) -> usize {
    let compile = |(name, source): (String, String)| (name, ChatTemplate::new(&source, "<s>", "</s>").unwrap());
    let templates: BTreeMap<String, ChatTemplate> = sources.into_iter().map(compile).collect();
    // Python's dates of today, as the fixture has their formats.
    let forms = ["%Y-%m-%d", "%B %d, %Y", "%d %b %Y"];
    let dates = forms.map(|form| render(&format!("{{{{ strftime_now('{form}') }}}}")).unwrap());
    let cases = fixture["cases"].as_array().unwrap();
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in cases {
        let Some(template) = templates.get(case["template"].as_str().unwrap()) else {
            continue;
        };
        let messages = &fixture["conversations"][case["conversation"].as_str().unwrap()];
        let mut extra = extra.as_object().unwrap().clone();
        extra.extend(case["options"].as_object().unwrap().clone());
        let open = extra.shift_remove("add_generation_prompt") == Some(Value::Bool(true));
        let tools = extra.shift_remove("tools").map(|count| {
            let count = count.as_u64().map_or(2, |count| usize::try_from(count).unwrap());
            Value::from(fixture["tools"].as_array().unwrap()[..count].to_vec())
        });
        let mut ours = template.render(messages, tools.as_ref(), open, &extra);
        if let Ok(text) = &mut ours {
            for (form, date) in forms.iter().zip(&dates) {
                *text = text.replace(date, form);
            }
        }
        let first = case["same_as"].as_u64().map(|place| &cases[usize::try_from(place).unwrap()]);
        let same = match (&ours, &first.unwrap_or(case)["text"], &case["raised"]) {
            (Ok(text), Value::String(expected), _) => text == expected,
            (Err(TemplateError::Raised(message)), _, Value::String(expected)) => message == expected,
            (Err(TemplateError::Render(_)), Value::Null, Value::Null) => true,
            _ => false,
        };
        checked += 1;
        if !same {
            wrong.push(format!("{case:#}\nours: {ours:#?}"));
        }
    }
    println!("{checked} cases");
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n\n"));
    checked
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/chat_templates.json")).unwrap();
    let mut templates = sources(&here("templates"));
    templates.extend(smollm2().map(|source| ("smollm2".to_owned(), source)));
    check(&fixture, templates, &json!({"date_string": "25 Nov 2026", "null_value": null}));
}

/// The templates that the makers of the models published, where their licences allow copies; `templates/published/README.md`
/// lists them.
#[test]
fn published_templates_render_as_transformers_renders_them() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/published_templates.json")).unwrap();
    let mut templates = sources(&here("templates/published"));
    templates.extend(sources(&here("templates/published/further")));
    assert!(templates.len() >= 19, "{:?}", templates.keys());
    let checked = check(&fixture, templates, &json!({}));
    assert_eq!(checked, fixture["cases"].as_array().unwrap().len());
}

/// Tools, a call and its result reach the model through every template, in whatever way the template has for them.
#[test]
fn tools_and_calls_reach_the_model_in_every_family() {
    let tokenizer = Tokenizer::from_gguf(&laminar_model::synth::byte_tokenizer()).unwrap();
    let markers = Markers::new(&tokenizer);
    for (name, source) in sources(&here("templates/published")) {
        let template = ChatTemplate::new(&source, "<s>", "</s>").unwrap();
        let family = Family::of_template(&template, &tokenizer);
        let (dialect, lists_tools, writes_calls, as_text, refuses_system) = match name.as_str() {
            "deepseek_r1" | "deepseek_v3_1" => (Dialect::DeepSeek, false, true, false, false),
            "glm_4_6" => (Dialect::Glm, true, true, false, false),
            "gpt_oss" => (Dialect::Harmony, true, true, false, false),
            "granite_3_3" => (Dialect::Granite, true, false, false, false),
            "granite_4_0" | "qwen2_5" | "qwen3" => (Dialect::Hermes, true, true, false, false),
            "mistral_nemo" => (Dialect::Mistral, true, true, false, false),
            "mixtral" => (Dialect::Hermes, false, false, false, true),
            "olmo2" | "phi_3_5" | "qwen2" => (Dialect::Hermes, false, false, false, false),
            "phi_4_mini" => (Dialect::Phi, false, false, false, false),
            "qwen3_coder" => (Dialect::QwenXml, true, true, false, false),
            other => panic!("{other} is not in the table"),
        };
        let habits = family.template;
        assert_eq!(
            (family.dialect, habits.lists_tools, habits.writes_calls, habits.arguments_as_text, habits.refuses_system),
            (dialect, lists_tools, writes_calls, as_text, refuses_system),
            "{name}"
        );
        let function = json!({"name": "get_weather", "description": "Weather", "parameters": {"type": "object",
            "properties": {"place": {"type": "string"}}, "required": ["place"]}});
        let call = json!({"id": "abcdef123", "type": "function",
            "function": {"name": "get_weather", "arguments": {"place": "東京"}}});
        let chat = |messages: Value| Chat {
            messages,
            tools: Some(vec![json!({"type": "function", "function": function})].into()),
            extra: Map::new(),
            add_generation_prompt: true,
        };
        let first = json!({"role": "user", "content": "Weather?"});
        let answer = json!({"role": "assistant", "content": "", "tool_calls": [call]});
        let result = json!({"role": "tool", "tool_call_id": "abcdef123", "content": "42 degrees"});
        let text = |messages: Value| {
            chat(messages)
                .encode(&tokenizer, &markers, &template, &family)
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .text
        };
        assert!(text(json!([first])).contains("get_weather"), "{name}");
        let whole = text(json!([first, answer, result]));
        assert!(whole.matches("get_weather").count() >= 2, "{name}: {whole}");
        for part in ["Weather?", "東京", "42 degrees"] {
            assert!(whole.contains(part), "{name}: no {part} in {whole}");
        }
    }
}

/// Any further templates, with what `tools/reference/template_fixtures.py --templates` made of them.
#[test]
fn further_templates_render_as_transformers_renders_them() {
    let Some(folder) = std::env::var_os("LAMINAR_TEST_TEMPLATES").map(PathBuf::from) else {
        println!("skipped: LAMINAR_TEST_TEMPLATES names no folder");
        return;
    };
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("cases.json")).unwrap()).unwrap();
    check(&fixture, sources(&folder), &json!({}));
}

fn render(source: &str) -> Result<String, TemplateError> {
    ChatTemplate::new(source, "", "")?.render(&json!([{"role": "user", "content": "Hi"}]), None, true, &Map::new())
}

#[test]
fn hostile_templates_end_in_an_error_soon() {
    // Within a second on a quiet machine; other tests run beside this one.
    let limit = Duration::from_secs(4);
    let cases = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | string }}",
        "{{ 'x' * 1000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
        "{{ ('x,' * 1000000).split(',') | join('y' * 100000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' | indent(1000000000) }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ 2 ** 1000000000 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ f(x + x) }}{% endmacro %}{{ f('x') }}",
        "{% for a in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% include 'chat template' %}",
        "{% include '/etc/passwd' %}",
        "{% extends 'chat template' %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ raise_exception() }}",
        "{{ range(1, 2, 0) }}",
        "{{ undefined_function() }}",
        "{{ [1] | tojson(indent=1000000000) if false else undefined.x }}",
        "{{ undefined | tojson }}",
        "{{ raise_exception | tojson }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}",
        "{% set ns = namespace() %}{% set ns.x = {'a': (ns,)} %}{{ ns ~ '' }}",
        "{% set ns = namespace() %}{% set a, ns.x = 1, ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x | default(ns, true) %}{% endset %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] | reverse %}{{ ns }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99999) %}{% set ns.x = ns.x | reverse %}{% endfor %}{{ ns.x }}",
    ];
    for source in cases {
        let start = Instant::now();
        let result = render(source);
        let elapsed = start.elapsed();
        println!("{elapsed:?} {source:.60} {:.100}", format!("{result:?}"));
        if let Ok(text) = result {
            assert!(source.contains("__") && text.is_empty(), "{source} rendered {text}");
        }
        assert!(elapsed < limit, "{source} took {elapsed:?}");
    }
}

#[test]
fn a_value_that_repeats_itself_ends_in_an_error() {
    let doubled =
        |name: &str| format!("{{% set {name} = [1] %}}") + &format!("{{% set {name} = [{name}, {name}] %}}").repeat(60);
    for show in ["{{ x }}", "{{ x | tojson }}", "{{ '{}'.format(x) }}", "{{ ','.join([x]) }}"] {
        let result = render(&(doubled("x") + show));
        assert!(result.unwrap_err().to_string().contains("too much work"), "{show}");
    }
    // The engine itself does not count comparisons: nobody waits for them, and the template is not tried again.
    let source = doubled("x") + &doubled("y") + "{% if messages[0].content == 'x' %}{{ x == y }}{% endif %}";
    let template = ChatTemplate::new(&source, "", "").unwrap();
    let say = |text: &str| template.render(&json!([{"role": "user", "content": text}]), None, true, &Map::new());
    say("a").unwrap();
    assert!(say("x").unwrap_err().to_string().contains("come to an end"));
    assert!(say("a").unwrap_err().to_string().contains("come to an end"));
}

#[test]
fn deeply_nested_values_do_not_end_the_process() {
    // A value nested by a loop must neither overflow the stack when it is shown nor when it is dropped.
    for wrap in ["[ns.x]", "{'a': ns.x}", "(ns.x,)"] {
        for show in ["", "{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == ns.x }}", "{{ ns.x | string | length }}"] {
            let source = format!(
                "{{% set ns = namespace(x=1) %}}{{% for a in range(99999) %}}{{% for b in range(99) %}}{{% set ns.x = {wrap} %}}{{% endfor %}}{{% endfor %}}{show}"
            );
            let start = Instant::now();
            let result = render(&source);
            println!("{wrap} {show} {:?} {:.80}", start.elapsed(), format!("{result:?}"));
            result.unwrap_err();
        }
    }
}

#[test]
fn values_nested_by_recursion_do_not_end_the_process() {
    // Macros and recursive loops multiply the depth that the source spells out, up to what the fuel pays for.
    for (open, close) in [("[", "]"), ("{'':", "}"), ("(", ",)")] {
        let level = format!("{{% set x = {}x{} %}}", open.repeat(20), close.repeat(20));
        let deeper = level.repeat(220_000 / level.len());
        for show in ["", "{{ x }}", "{{ x == [x] }}"] {
            for source in [
                format!(
                    "{{% macro f(x, n) %}}{deeper}{{% if n %}}{{{{ f(x, n - 1) }}}}{{% else %}}{show}{{% endif %}}{{% endmacro %}}{{{{ f(1, 9) }}}}"
                ),
                format!(
                    "{{% for x in [1] recursive %}}{deeper}{{% if loop.depth < 50 %}}{{{{ loop([x]) }}}}{{% else %}}{show}{{% endif %}}{{% endfor %}}"
                ),
                format!("{{% set x = 1 %}}{deeper}{show}"),
            ] {
                let start = Instant::now();
                let result = render(&source);
                println!("{open} {show} {source:.30} {:?} {:.80}", start.elapsed(), format!("{result:?}"));
                assert!(start.elapsed() < Duration::from_secs(8));
            }
        }
    }
}

#[test]
fn deep_but_finite_values_do_not_end_the_process() {
    for depth in [100, 1000, 10_000, 99_999] {
        for show in ["", "{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == ns.y }}", "{{ ns.x | pprint }}"] {
            let source = format!(
                "{{% set ns = namespace(x=1, y=1) %}}{{% for a in range({depth}) %}}{{% set ns.x = [ns.x] %}}{{% set ns.y = [ns.y] %}}{{% endfor %}}{show}"
            );
            let start = Instant::now();
            let result = render(&source);
            println!("{depth} {show} {:?} {:.80}", start.elapsed(), format!("{result:?}"));
            assert!(start.elapsed() < Duration::from_secs(4));
        }
    }
}

#[test]
fn nested_source_does_not_end_the_process() {
    for source in [
        "{{ ".to_owned() + &"(".repeat(100_000),
        "{{ ".to_owned() + &"[".repeat(100_000),
        "{{ ".to_owned() + &"not ".repeat(100_000) + "x }}",
        "{{ ".to_owned() + &"-".repeat(100_000) + "1 }}",
        "{{ 1".to_owned() + &" + 1".repeat(100_000) + " }}",
        "{{ x".to_owned() + &".x".repeat(100_000) + " }}",
        "{{ x".to_owned() + &"|trim".repeat(100_000) + " }}",
        "{{ x".to_owned() + &" if x else x".repeat(50_000) + " }}",
        "{% if x %}".repeat(50_000),
        "{% if x %}".repeat(5_000) + &"{% endif %}".repeat(5_000),
        "x".repeat(2 << 20),
    ] {
        let start = Instant::now();
        let result = render(&source);
        println!("{source:.40} {:?} {:.80}", start.elapsed(), format!("{result:?}"));
        assert!(start.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn errors_say_what_and_where() {
    let parse = ChatTemplate::new("a\n{% if %}", "", "").unwrap_err();
    assert!(matches!(parse, TemplateError::Parse(_)));
    assert!(parse.to_string().contains("line 2"), "{parse}");
    let raised = render("{{ raise_exception('no tools here') }}").unwrap_err();
    assert!(matches!(&raised, TemplateError::Raised(message) if message == "no tools here"), "{raised}");
    // A message raised inside a macro, a filter block or a loop arrives all the same.
    let raised =
        render("{% macro m() %}{{ raise_exception('deep') }}{% endmacro %}{% for a in [1] %}{{ m() }}{% endfor %}")
            .unwrap_err();
    assert!(matches!(&raised, TemplateError::Raised(message) if message == "deep"), "{raised}");
    let failed = render("\n\n{{ messages[0].content.nothing() }}").unwrap_err();
    assert!(failed.to_string().contains("line 3") && !failed.to_string().contains('\n'), "{failed}");
    let endless = render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}").unwrap_err();
    assert!(endless.to_string().contains("too much work"), "{endless}");
}

#[test]
fn a_long_conversation_fits_the_budget() {
    let source = std::fs::read_to_string(here("templates/chatml_thinking.jinja")).unwrap();
    let template = ChatTemplate::new(&source, "", "").unwrap();
    // Two thousand turns, 8 MB of text: far above what any model takes.
    let text = "word ".repeat(800);
    let messages: Vec<Value> = (0..2000)
        .map(|turn| json!({"role": if turn % 2 == 0 { "user" } else { "assistant" }, "content": text}))
        .collect();
    let start = Instant::now();
    let prompt = template.render(&Value::Array(messages), None, true, &Map::new()).unwrap();
    println!("{} bytes in {:?}", prompt.len(), start.elapsed());
    assert!(prompt.len() > 8_000_000);
}
