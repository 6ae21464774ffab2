//! Which known key a misspelt one may be.

/// How alike two keys must be for one to be a misspelling of the other: Jaro-Winkler, 0 to 1.
const ALIKE: f64 = 0.9;
/// What a misspelling must not turn into its contrary.
const CONTRARY: [(&str, &str); 3] =
    [("include", "exclude"), ("whitelist", "exclude"), ("whitelist", "blacklist")];

/// Those of the known keys that this could be a misspelling of, the likeliest first.
pub(super) fn alike<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let contrary = |other: &str| CONTRARY.iter().any(|(one, not)| key.contains(one) && other.contains(not));
    let mut like: Vec<(f64, &str)> = known
        .filter(|other| !contrary(other))
        .map(|other| (strsim::jaro_winkler(key, other), other))
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    like.into_iter().map(|(_, other)| other).collect()
}
