#include "postern/mail/date.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "postern/base/assert.h"

namespace postern::mail {

std::size_t write_date(base::WallTime time, std::span<char> into) {
    using namespace std::chrono;
    constexpr std::array<std::string_view, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<std::string_view, 12> months{
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    POSTERN_ASSERT(into.size() >= date_octets, "a date was written into too little room");
    char* at = into.data();
    const auto text = [&](std::string_view part) { at = std::copy(part.begin(), part.end(), at); };
    const auto number = [&](unsigned value, unsigned digits) {
        for (unsigned i = digits; i-- > 0; value /= 10) {
            at[i] = static_cast<char>('0' + value % 10);
        }
        at += digits;
    };
    const auto day = floor<std::chrono::days>(time);
    const year_month_day date(day);
    const hh_mm_ss clock(floor<seconds>(time - day));
    text(days[weekday(day).c_encoding()]);
    text(", ");
    number(static_cast<unsigned>(date.day()), 2);
    text(" ");
    text(months[static_cast<unsigned>(date.month()) - 1]);
    text(" ");
    number(static_cast<unsigned>(static_cast<int>(date.year())), 4);
    text(" ");
    number(static_cast<unsigned>(clock.hours().count()), 2);
    text(":");
    number(static_cast<unsigned>(clock.minutes().count()), 2);
    text(":");
    number(static_cast<unsigned>(clock.seconds().count()), 2);
    text(" +0000");
    return static_cast<std::size_t>(at - into.data());
}

}  // namespace postern::mail
