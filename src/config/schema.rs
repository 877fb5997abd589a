//! The JSON Schema of the configuration, for editors: what completes keys and marks mistakes while they
//! are written. `nightferry check` knows more.

/// The schema (JSON Schema 2020-12), as text.
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    /// What is wrong with a value, by the few words of JSON Schema that ours uses; any other word is
    /// an error here.
    fn wrong(schema: &Value, value: &Value, path: &str) -> Vec<String> {
        let mut wrongs = Vec::new();
        for (word, rule) in schema.as_object().unwrap() {
            let fits = match word.as_str() {
                "$schema" | "title" | "description" | "examples" | "pattern" | "propertyNames" => true,
                "type" => {
                    let of = |word: &str| match word {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "integer" => value.is_u64(),
                        "number" => value.is_number(),
                        "boolean" => value.is_boolean(),
                        word => panic!("type {word}"),
                    };
                    rule.as_str().map_or_else(
                        || rule.as_array().unwrap().iter().any(|word| of(word.as_str().unwrap())),
                        of,
                    )
                }
                "enum" => rule.as_array().unwrap().contains(value),
                "const" => rule == value,
                "minimum" => value.as_u64() >= rule.as_u64(),
                "maximum" => value.as_u64() <= rule.as_u64(),
                "minProperties" => {
                    value.as_object().is_some_and(|object| object.len() as u64 >= rule.as_u64().unwrap())
                }
                "maxProperties" => {
                    value.as_object().is_some_and(|object| object.len() as u64 <= rule.as_u64().unwrap())
                }
                "required" => {
                    rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())
                }
                "anyOf" => rule.as_array().unwrap().iter().any(|one| wrong(one, value, path).is_empty()),
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        wrongs.extend(wrong(rule, item, &format!("{path}[]")));
                    }
                    true
                }
                "properties" | "additionalProperties" => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        let known = schema.get("properties").and_then(|known| known.get(key));
                        let path = format!("{path}.{key}");
                        match (word.as_str(), known, rule) {
                            ("properties", Some(known), _) => wrongs.extend(wrong(known, value, &path)),
                            ("additionalProperties", None, Value::Bool(false)) => wrongs.push(path),
                            ("additionalProperties", None, rule) => wrongs.extend(wrong(rule, value, &path)),
                            _ => {}
                        }
                    }
                    true
                }
                word => panic!("`{word}` is not read here"),
            };
            if !fits {
                wrongs.push(format!("{path}: {word}"));
            }
        }
        wrongs
    }

    #[test]
    fn the_example_fits_and_a_slip_does_not() {
        let example = include_str!("../../jobs.example.yaml");
        let read = |text: &str| -> Value { serde_yaml::from_str(text).unwrap() };
        assert_eq!(wrong(&schema(), &read(example), ""), Vec::<String>::new());
        for (right, slip) in [
            ("retain: 6y", "retian: 6y"),
            ("mode: drop ", "mode: dorp "),
            ("port: 990", "port: 99000"),
            ("{env: BILLING_PASSWORD}", "{env: A, file: b}"),
            ("{env: BILLING_PASSWORD}", "secret"),
            ("{move_to: /srv/clinic/sent}", "remove"),
            ("  offsite-backup:\n    source: /var/backups\n", "  offsite-backup:\n"),
            ("version: 1\n", "version: 2\n"),
        ] {
            assert!(example.contains(right), "{right}");
            let wrongs = wrong(&schema(), &read(&example.replacen(right, slip, 1)), "");
            assert!(!wrongs.is_empty(), "{slip}");
        }
    }

    /// The keys of each section with fixed keys, as the parser's source lists them. Read from there,
    /// so that a new section cannot be forgotten here.
    fn known_to_the_parser() -> BTreeSet<BTreeSet<String>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
        let mut sections = BTreeSet::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let is_source = path.extension().is_some_and(|extension| extension == "rs");
                if !is_source || path.ends_with("schema.rs") {
                    continue;
                }
                let source = fs::read_to_string(path).unwrap();
                for part in source.split("known: &[").skip(1) {
                    let keys = part.split(']').next().unwrap().split('"').skip(1).step_by(2);
                    sections.insert(keys.map(str::to_owned).collect());
                }
            }
        }
        sections
    }

    fn known_to_the_schema(schema: &Value, sections: &mut BTreeSet<BTreeSet<String>>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            sections.insert(properties.keys().cloned().collect());
        }
        let below = match schema {
            Value::Object(object) => object.values().collect::<Vec<_>>(),
            Value::Array(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        for schema in below {
            known_to_the_schema(schema, sections);
        }
    }

    #[test]
    fn parser_and_schema_know_the_same_keys() {
        let mut of_schema = BTreeSet::new();
        known_to_the_schema(&schema(), &mut of_schema);
        let of_parser = known_to_the_parser();
        assert!(of_parser.len() > 10, "{of_parser:?}");
        assert_eq!(of_schema, of_parser);
    }

    #[test]
    fn every_key_is_described() {
        fn check(schema: &Value) {
            for (key, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                assert!(below["description"].as_str().is_some_and(|text| text.ends_with('.')), "{key}");
            }
            match schema {
                Value::Object(object) => object.values().for_each(check),
                Value::Array(items) => items.iter().for_each(check),
                _ => {}
            }
        }
        check(&schema());
    }
}
