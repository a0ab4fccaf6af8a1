//! Whether JSON has the form of a sample: the same keys in the same order, and values of the same types.

use serde_json::Value;

/// What a sample has and others may not, or the other way round.
pub(super) fn assert_shape(found: &Value, sample: &Value, optional: &[&str]) {
    if let Err(why) = compare(found, sample, optional) {
        panic!("{why}\nfound:  {found}\nsample: {sample}");
    }
}

/// Each item of a list has the form of one of the sample's items.
pub(super) fn assert_items(found: &Value, sample: &Value, optional: &[&str]) {
    let items = found.as_array().unwrap();
    assert!(!items.is_empty());
    for item in items {
        assert_shape(item, &sample[0], optional);
    }
}

fn compare(found: &Value, sample: &Value, optional: &[&str]) -> Result<(), String> {
    match (found, sample) {
        (Value::Object(found), Value::Object(sample)) => {
            fn required<'a>(object: &'a serde_json::Map<String, Value>, optional: &[&str]) -> Vec<&'a str> {
                object.keys().map(String::as_str).filter(|key| !optional.contains(key)).collect()
            }
            let (keys, expected) = (required(found, optional), required(sample, optional));
            if keys != expected {
                return Err(format!("keys {keys:?} instead of {expected:?}"));
            }
            found.iter().try_for_each(|(key, value)| match sample.get(key) {
                Some(sample) => compare(value, sample, optional).map_err(|why| format!("{key}: {why}")),
                None => Ok(()),
            })
        }
        (Value::Array(found), Value::Array(sample)) => {
            found.iter().try_for_each(|item| sample.first().map_or(Ok(()), |sample| compare(item, sample, optional)))
        }
        (Value::Null, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => Ok(()),
        (found, sample) => Err(format!("{found} instead of {sample}")),
    }
}
