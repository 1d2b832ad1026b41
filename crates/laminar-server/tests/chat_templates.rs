//! Chat templates against `transformers` (`tools/reference/template_fixtures.py` records what it renders), and hostile
//! ones against the clock.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use laminar_model::checkpoint::Gguf;
use laminar_model::tokenizer::Tokenizer;
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

fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for entry in std::fs::read_dir(here("templates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        sources.insert(name, std::fs::read_to_string(&path).unwrap());
    }
    sources.extend(smollm2().map(|source| ("smollm2".to_owned(), source)));
    sources
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/chat_templates.json")).unwrap();
    let templates: BTreeMap<String, ChatTemplate> = sources()
        .into_iter()
        .map(|(name, source)| (name, ChatTemplate::new(&source, "<s>", "</s>").unwrap()))
        .collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in fixture["cases"].as_array().unwrap() {
        let Some(template) = templates.get(case["template"].as_str().unwrap()) else {
            continue;
        };
        let messages = &fixture["conversations"][case["conversation"].as_str().unwrap()];
        let options = case["options"].as_object().unwrap();
        let tools = options.contains_key("tools").then_some(&fixture["tools"]);
        let open = options.get("add_generation_prompt") == Some(&Value::Bool(true));
        let mut extra = json!({"date_string": "25 Nov 2026", "null_value": null}).as_object().unwrap().clone();
        extra.extend(options.get("enable_thinking").map(|value| ("enable_thinking".to_owned(), value.clone())));
        let ours = template.render(messages, tools, open, &extra);
        let same = match (&ours, &case["text"], &case["raised"]) {
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
