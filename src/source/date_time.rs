//! Dates of XML.

/// Milliseconds since 1970-01-01 UTC of an `xsd:dateTime` with a year of four digits (XML Schema
/// part 2, section 3.2.7). A finer fraction is cut.
pub(super) fn parse_date_time(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once('T')?;
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let minutes = hour * 60 + minute - parse_zone(zone)?;
    Some((days_since_1970(year, month, day) * 86_400 + minutes * 60 + second) * 1000 + milliseconds)
}

/// Minutes ahead of UTC.
fn parse_zone(zone: &str) -> Option<i64> {
    let sign = match zone.get(..1) {
        None => return Some(0),
        Some("Z") => return (zone == "Z").then_some(0),
        Some("-") => -1,
        Some(_) => 1,
    };
    let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
    (minutes <= 59 && hours * 60 + minutes <= 14 * 60).then_some(sign * (hours * 60 + minutes))
}

/// Numbers of an exact count of digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut values = [0; N];
    for (value, digits) in values.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *value = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(values)
}

/// Days from 1970-01-01 to a Gregorian date, counted in years that begin in March, so that the leap
/// day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_TO_1970: i64 = 719_468;
    let year = if month < 3 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_every_form() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999", -1),
            (" 2000-02-29T12:00:00 ", 951_825_600_000),
            ("2006-05-04T18:13:51.1239", 1_146_766_431_123),
            ("2019-09-19T11:48:26+02:00", 1_568_886_506_000),
            ("2019-09-19T11:48:26.25-09:30", 1_568_927_906_250),
            ("0001-01-01T00:00:00", -62_135_596_800_000),
        ] {
            assert_eq!(parse_date_time(text), Some(expected), "{text}");
        }
        let bad = "T 2019-09-19 2019-13-01T00:00:00 2019-00-01T00:00:00 1900-02-29T00:00:00 \
            2019-04-31T00:00:00 2019-09-19T24:00:01 2019-09-19T11:60:00 2019-09-19T11:48 \
            2019-09-19T11:48:26. 2019-09-19T11:48:26.1e3 2019-09-19T11:48:26Zulu \
            2019-09-19T11:48:26+2:00 2019-09-19T11:48:26+15:00 +019-09-19T11:48:26 \
            2019-09-19T11:48:26:00 2019-09-19T11:48:26-\u{e9} 2019-09-19T11:48:26+\u{e9}1:00";
        for bad in bad.split(' ').chain([""]) {
            assert_eq!(parse_date_time(bad), None, "{bad:?}");
        }
    }
}
