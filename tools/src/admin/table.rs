/// Rows under a header, in columns as wide as their longest text. Headers start with `#`, as scripts expect.
pub(super) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|name| format!("#{name}")).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["broker-a".to_owned(), "1".to_owned()], vec!["b".to_owned(), "20".to_owned()]];
        assert_eq!(render(&["Broker Name", "QID"], &rows), "#Broker Name  #QID\nbroker-a      1\nb             20\n");
    }
}
