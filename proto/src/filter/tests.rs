use super::*;

const NOTHING: &[&str] = &[];

fn refusal(pattern: &str) -> (usize, String) {
    let error = Filter::new(&["ok", pattern], NOTHING).map(|_| ()).expect_err(pattern);
    assert_eq!(error.index, 1);
    (error.position, error.reason)
}

#[test]
fn names_are_matched_as_a_whole_and_exclusion_wins() {
    let filter = Filter::new(&["orders.*", "a|b"], &["orders\\.tmp"]).unwrap();
    for name in ["orders", "orders.eu", "a", "b"] {
        assert!(filter.matches(name), "{name}");
    }
    for name in ["my-orders", "ax", "xb", "orders.tmp", ""] {
        assert!(!filter.matches(name), "{name}");
    }
    assert!(filter.excludes("orders.tmp") && !filter.excludes("other"));
}

#[test]
fn empty_lists_include_nothing_and_exclude_nothing() {
    assert!(!Filter::new(NOTHING, NOTHING).unwrap().matches("a"));
    assert!(Filter::new(&[".*"], NOTHING).unwrap().matches("a"));
}

#[test]
fn a_flag_stays_in_its_own_pattern() {
    let filter = Filter::new(&["(?i)abc", "def"], NOTHING).unwrap();
    assert!(filter.matches("ABC") && filter.matches("def") && !filter.matches("DEF"));
}

/// Every line of java17.tsv is a pattern and what java.util.regex (OpenJDK 17, `Matcher.matches`) says about each name of the
/// first line. We say the same or refuse; a third column `refused` marks what Java takes and we don't.
#[test]
fn patterns_mean_what_they_mean_in_java() {
    let mut lines = include_str!("java17.tsv").lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut different = Vec::new();
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let (pattern, java) = (columns[0], columns[1]);
        let ours = match Filter::new(&[pattern], NOTHING) {
            Ok(filter) => names.iter().map(|n| if filter.matches(n) { '1' } else { '0' }).collect(),
            Err(_) if columns.get(2) == Some(&"refused") => continue,
            Err(_) => "error".to_owned(),
        };
        if ours != java {
            different.push(format!("{pattern}\tJava {java}\tours {ours}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn what_means_something_else_is_refused_by_name_and_position() {
    for (pattern, position, says) in [
        (r"a\h", 1, r"\h"),
        (r"a\Z", 1, r"\Z"),
        (r"\Ga", 0, r"\G"),
        (r"a.\p{Alpha}", 2, r"write [a-zA-Z]"),
        (r"\p{javaLowerCase}", 0, r"\p{javaLowerCase}"),
        ("a{,3}", 1, "{0,3}"),
        ("x[a-z&&[^b]]", 5, "intersection"),
        ("x[a[b]]", 3, "class within a class"),
        ("(?x)a b", 0, "'x'"),
        ("(?P<n>a)", 0, "inline flag 'P'"),
    ] {
        let (at, reason) = refusal(pattern);
        assert_eq!(at, position, "{pattern}: {reason}");
        assert!(reason.contains(says), "{pattern}: {reason}");
    }
}

#[test]
fn syntax_errors_have_their_position_in_characters() {
    for (pattern, position) in [
        ("ä*(b", 2),
        ("äb)", 2),
        ("*a", 0),
        ("ä.[b", 2),
        ("a**", 2),
        ("[z-a]", 1),
        ("a{3,2}", 1),
        ("ab\\", 2),
        ("(a)\\2", 3),
    ] {
        let (at, reason) = refusal(pattern);
        assert_eq!(at, position, "{pattern}: {reason}");
    }
    let long = "a".repeat(MAX_PATTERN_CHARS + 1);
    assert_eq!(refusal(&long).0, MAX_PATTERN_CHARS);
}

#[test]
fn a_match_that_gives_up_selects_nothing_and_excludes() {
    let hard = r"(a|a)*\1b";
    let name = "a".repeat(200);
    assert!(!Filter::new(&[hard], NOTHING).unwrap().matches(&name));
    assert!(!Filter::new(&[".*"], &[hard]).unwrap().matches(&name));
}

proptest::proptest! {
    #[test]
    fn no_pattern_panics(pattern in r#"[\\a\-()\[\]{}?*+|^$.,&<>=!:QEdpx0-9ä]{0,12}"#) {
        let _ = Filter::new(&[pattern], NOTHING);
    }

    #[test]
    fn a_quoted_name_matches_itself_only(name in "[ -~]{0,20}", other in "[ -~]{0,20}") {
        proptest::prop_assume!(!name.contains("\\E"));
        let filter = Filter::new(&[format!("\\Q{name}\\E")], NOTHING).unwrap();
        assert!(filter.matches(&name));
        assert_eq!(filter.matches(&other), name == other);
    }
}

#[test]
fn what_a_pattern_compiles_to_has_a_bound() {
    for pattern in [r"\p{L}{200}", "((a{100}){100}){100}", r"(\w{50}|\p{Lu}{50}){50}"] {
        let error = Filter::new(&[pattern], &[] as &[&str]).unwrap_err();
        assert!(error.reason.contains("fewer repetitions"), "{pattern}: {}", error.reason);
    }
    // A thousand ordinary ones, and a few that are not, are fine.
    let many: Vec<String> = (0..1_000).map(|n| format!(r"(?i)team-{n}\.[a-z0-9_.-]+\.v\d{{1,3}}")).collect();
    assert!(Filter::new(&many, &[] as &[&str]).unwrap().matches("TEAM-7.orders.v12"));
    assert!(Filter::new(&[r"\p{L}{1,8}"], &[] as &[&str]).unwrap().matches("Größe"));
}
