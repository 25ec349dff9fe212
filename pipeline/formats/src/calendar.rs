//! Days and dates.

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar, which is taken to have always been.
#[must_use]
pub fn date(day: i64) -> (i64, i64, i64) {
    // Years are taken to begin in March, so that the leap day is the last of its year; 400 of them repeat exactly.
    const DAYS_OF_400_YEARS: i64 = 146_097;
    const DAYS_TO_1970_FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    let days = day + DAYS_TO_1970_FROM_MARCH_OF_YEAR_0;
    let (era, day) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    // Leap days so far: one in 4 years, but not in 100, and none on the very last day, which is one itself.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31, 30, 31, 30, 31 days, over and over: 153 days in five.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_follows_the_one_before() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        assert_eq!(date(0), (1970, 1, 1));
        let (mut year, mut month, mut day) = date(-200_000);
        assert_eq!((year, month, day), (1422, 6, 3));
        for days in -200_000..200_000 {
            assert_eq!(date(days), (year, month, day));
            let last = match month {
                2 if is_leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
