use clap::Args;

use super::table;
use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Shows the offsets of a topic's queues
#[derive(Args, Clone, Debug)]
#[command(alias = "topicstatus", rename_all = "camelCase")]
pub(super) struct TopicStatus {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Topic
    #[arg(short = 't', long)]
    topic: String,
}

impl TopicStatus {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        let admin = super::admin(&self.cluster)?;
        let route = admin.topic_route(&self.topic).await?;
        let mut rows = Vec::new();
        for group in &route.broker_datas {
            let Some(address) = group.broker_addrs.values().next() else { continue };
            for (queue, offset) in admin.topic_stats(address, &self.topic).await? {
                rows.push(vec![
                    queue.broker_name,
                    queue.queue_id.to_string(),
                    offset.min_offset.to_string(),
                    offset.max_offset.to_string(),
                    updated(offset.last_update_timestamp),
                ]);
            }
        }
        print!("{}", table::render(&["Broker Name", "QID", "Min Offset", "Max Offset", "Last Updated"], &rows));
        Ok(())
    }
}

/// `2023-11-14 22:13:20,000` in UTC; empty for a queue without messages.
fn updated(unix_ms: i64) -> String {
    if unix_ms <= 0 {
        return String::new();
    }
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millis:03}")
}

/// Year, month and day in the Gregorian calendar of a day counted from 1970-01-01 (Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(updated(1_700_000_000_123), "2023-11-14 22:13:20,123");
        assert_eq!(updated(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(updated(0), "");
    }
}
