//! Inputs that ask for as much as possible with few bytes: the shortest items, very many of them, or very deep.

const ITEMS: usize = 20_000;

/// The inputs for a parser.
pub(crate) fn inputs(parser: &str) -> Vec<Vec<u8>> {
    let list =
        |before: &str, item: &str, after: &str| format!("{before}{}{after}", vec![item; ITEMS].join(",")).into_bytes();
    let lines = |line: &str| format!("{line}\n").repeat(ITEMS).into_bytes();
    let mut inputs = vec![
        Vec::new(),
        vec![0xff; ITEMS],
        vec![0; ITEMS],
        b"[".repeat(ITEMS),
        b"{\"\":".repeat(ITEMS),
        list("[", "0", "]"),
        vec![b'a'; ITEMS],
        b"\\".repeat(ITEMS),
    ];
    inputs.extend(match parser {
        "client_config" => vec![
            list(r#"{"other":["#, "0", "]}"),
            list(r#"{"storage":{"type":"s3","config":["#, "{}", "]}}"),
            list(r#"{"caching":{"other":["#, "[]", "]}}"),
        ],
        "compaction_log" => vec![list(r#"{"inputMetadata":["#, r#"{"id":""}"#, r#"],"outputMetadata":[]}"#)],
        "directory" => vec![
            list(r#"{"stream":"kopia:directory","entries":["#, r#"{"obj":"00"}"#, "]}"),
            list(
                r#"{"stream":"kopia:directory","entries":[{"obj":"00","summ":{"errors":["#,
                r#"{"path":"","error":""}"#,
                "]}}]}",
            ),
        ],
        "epochs" => vec![
            lines("xn0"),
            (0..ITEMS).map(|epoch| format!("xr{epoch}_{epoch}_a\nxe{epoch}\n")).collect::<String>().into_bytes(),
        ],
        "ignore_rules" => vec![lines("a"), vec![b'?'; ITEMS], b"[a]".repeat(ITEMS), b"[".iter().chain(&vec![b'a'; ITEMS]).copied().collect(), b"*/".repeat(ITEMS)],
        "manifests" => vec![list(
            r#"{"entries":["#,
            r#"{"id":"00112233445566778899aabbccddeeff","labels":null,"modified":"2000-01-01T00:00:00Z"}"#,
            "]}",
        )],
        "object_list" => vec![list(r#"{"entries":["#, r#"{"o":"00"}"#, "]}")],
        "parameters" => vec![list(
            r#"{"format":{"hash":"BLAKE2B-256-128","encryption":"AES256-GCM-HMAC-SHA256","masterKey":"AA==","version":1,"requiredFeatures":["#,
            r#"{"feature":"index-v1"}"#,
            "]}}",
        )],
        "policy" => vec![
            list(r#"{"files":{"ignore":["#, r#""""#, "]}}"),
            list(r#"{"scheduling":{"timeOfDay":["#, "{}", "]}}"),
        ],
        "sharding" => vec![
            list(r#"{"default":["#, "0", "]}"),
            list(r#"{"default":["#, "1", "]}"),
            list(r#"{"overrides":["#, r#"{"prefix":""}"#, "]}"),
        ],
        "snapshot" => vec![list(
            r#"{"id":"","source":{},"startTime":"","endTime":"","rootEntry":null,"pins":["#,
            r#""""#,
            "]}",
        )],
        "targets" => vec![b"u@h:".iter().chain(&b"/a".repeat(500)).copied().collect()],
        _ => Vec::new(),
    });
    inputs
}
