/// The candidate that a mistyped word most likely meant; none if all are too far away.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other; letters that
/// differ in case only count as equal.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().map(|char| char.to_ascii_lowercase()).collect();
    let right: Vec<char> = right.chars().map(|char| char.to_ascii_lowercase()).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for row in 1..=left.len() {
        let mut current = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let replaced = rows[row - 1][column - 1] + usize::from(!same);
            current[column] = replaced.min(rows[row - 1][column] + 1).min(current[column - 1] + 1);
            if row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1] {
                current[column] = current[column].min(rows[row - 2][column - 2] + 1);
            }
        }
        rows.push(current);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let keys = ["brokerName", "brokerId", "listenPort"];
        assert_eq!(nearest("brokerNmae", keys.into_iter()), Some("brokerName"));
        assert_eq!(nearest("brokername", keys.into_iter()), Some("brokerName"));
        assert_eq!(nearest("brokerID", keys.into_iter()), Some("brokerId"));
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }
}
