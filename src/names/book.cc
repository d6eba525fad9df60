#include "book.h"

#include <algorithm>

#include <fmt/format.h>

namespace postern::names {
namespace {

using std::chrono::seconds;

constexpr seconds lifetime_min(1);
constexpr seconds lifetime_max = std::chrono::hours(24);
constexpr seconds lifetime_of_no_max = std::chrono::minutes(5);
constexpr seconds back_off_max(30);

}  // namespace

base::Duration lifetime(const Reply& reply) {
    const seconds most = reply.kind == Reply::Kind::records ? lifetime_max : lifetime_of_no_max;
    return std::clamp(seconds(reply.ttl_s), lifetime_min, most);
}

base::Duration back_off(std::uint32_t failures) {
    return failures > 5 ? back_off_max : std::min(back_off_max, seconds(1U << (failures - 1)));
}

class Book::Composer {
   public:
    Composer(Book& book, base::Instant now) : book_(book), now_(now) {}

    /// nullopt: something that it takes is not known yet.
    std::optional<Answer> compose(const Question& question) {
        Answer answer = question.kind == Question::Kind::mx ? mx_answer(question.name)
                                                            : hosts_answer({{0, question.name}});
        answer.trouble = trouble_;
        return pending_ ? std::nullopt : std::optional(std::move(answer));
    }

    std::set<Lookup*> needs;

   private:
    Answer mx_answer(const std::string& name) {
        const Lookup& mx = need({name, RecordType::mx});
        if (!mx.known) {
            return {Answer::Kind::failed, {}, {}};
        }
        switch (mx.known->kind) {
            case Reply::Kind::records:
                break;
            case Reply::Kind::no_records:  // the implicit MX: RFC 5321, 5.1
                return hosts_answer({{0, name}});
            case Reply::Kind::no_such_name:
                return {Answer::Kind::no_such_name, {}, {}};
            case Reply::Kind::failed:
                return {Answer::Kind::failed, {}, {}};
        }
        std::vector<Exchange> exchanges = mx.known->exchanges;
        if (exchanges.size() == 1 && exchanges.front().host.empty()) {
            return {Answer::Kind::null_mx, {}, {}};
        }
        std::erase_if(exchanges, [](const Exchange& exchange) { return exchange.host.empty(); });
        Answer answer = hosts_answer(exchanges);
        if (answer.kind == Answer::Kind::no_such_name) {
            answer.kind = Answer::Kind::no_addresses;  // the domain itself exists
        }
        return answer;
    }

    Answer hosts_answer(const std::vector<Exchange>& exchanges) {
        Answer answer{Answer::Kind::no_addresses, {}, {}};
        bool found = false;
        bool failed = false;
        bool no_such_name = false;
        for (const Exchange& exchange : exchanges) {
            if (std::any_of(answer.hosts.begin(), answer.hosts.end(), [&](const Host& host) {
                    return host.name == exchange.host;
                })) {
                continue;  // named again, with a worse preference
            }
            Host host{exchange.preference, exchange.host, {}};
            for (const RecordType type : {RecordType::a, RecordType::aaaa}) {
                const Lookup& lookup = need({exchange.host, type});
                if (!lookup.known) {
                    failed = true;
                    continue;
                }
                const Reply& reply = *lookup.known;
                no_such_name = no_such_name || reply.kind == Reply::Kind::no_such_name;
                host.addresses.insert(
                    host.addresses.end(), reply.addresses.begin(), reply.addresses.end());
            }
            found = found || !host.addresses.empty();
            answer.hosts.push_back(std::move(host));
        }
        if (found) {
            answer.kind = Answer::Kind::hosts;
        } else if (failed) {
            answer.kind = Answer::Kind::failed;
        } else if (no_such_name) {
            answer.kind = Answer::Kind::no_such_name;
        }
        return answer;
    }

    const Lookup& need(const Query& query) {
        Lookup& lookup = book_.lookup(query, now_);
        needs.insert(&lookup);
        pending_ = pending_ || lookup.pending();
        if (trouble_.empty() && lookup.failures > 0) {
            trouble_ = fmt::format("{} of {}: {}", name_of(query.type), query.name, lookup.trouble);
        }
        return lookup;
    }

    Book& book_;
    base::Instant now_;
    bool pending_ = false;
    std::string trouble_;  // the first one
};

void Book::watch(const std::vector<Question>& questions, base::Instant now) {
    const std::set<Question> wanted(questions.begin(), questions.end());
    // First what is new: it may take what is known for a question that goes.
    for (const Question& question : wanted) {
        const auto [it, is_new] = entries_.try_emplace(question);
        if (is_new) {
            it->second.question = question;
            settle(it->second, now);
        }
    }
    for (auto it = entries_.begin(); it != entries_.end();) {
        if (wanted.contains(it->first)) {
            ++it;
        } else {
            set_needs(it->second, {});
            it = entries_.erase(it);
        }
    }
}

std::optional<Book::Query> Book::next(base::Instant now) {
    if (queue_.empty() || (*queue_.begin())->due > now) {
        return std::nullopt;
    }
    Lookup& lookup = **queue_.begin();
    queue_.erase(queue_.begin());
    lookup.in_flight = true;
    return lookup.query;
}

std::optional<base::Instant> Book::next_due() const {
    return queue_.empty() ? std::nullopt : std::optional((*queue_.begin())->due);
}

void Book::answered(const Query& query, const Reply& reply, base::Instant now) {
    const auto it = lookups_.find(query);
    // In flight twice is one that was dropped and came back: its first answer counts.
    if (it == lookups_.end() || !it->second.in_flight) {
        return;
    }
    Lookup& lookup = it->second;
    lookup.in_flight = false;
    if (reply.kind == Reply::Kind::failed) {
        ++lookup.failures;
        lookup.trouble = reply.why;
        if (now >= lookup.good_until) {
            lookup.known.reset();
        }
        schedule(lookup, now + back_off(lookup.failures));
    } else {
        lookup.known = reply;
        lookup.failures = 0;
        lookup.trouble.clear();
        lookup.good_until = now + lifetime(reply) + grace;
        schedule(lookup, now + lifetime(reply));
    }
    const std::vector<Entry*> users = lookup.users;  // settling may change it
    for (Entry* const user : users) {
        settle(*user, now);
    }
}

void Book::ask_again(base::Instant now) {
    for (auto& [query, lookup] : lookups_) {
        if (lookup.in_flight) {
            lookup.in_flight = false;
            schedule(lookup, now);
        }
    }
}

Book::Lookup& Book::lookup(const Query& query, base::Instant now) {
    const auto [it, is_new] = lookups_.try_emplace(query);
    if (is_new) {
        it->second.query = query;
        schedule(it->second, now);
    }
    return it->second;
}

void Book::set_needs(Entry& entry, std::set<Lookup*> needs) {
    for (Lookup* const lookup : needs) {
        if (!entry.needs.contains(lookup)) {
            lookup->users.push_back(&entry);
        }
    }
    for (Lookup* const lookup : entry.needs) {
        if (needs.contains(lookup)) {
            continue;
        }
        std::erase(lookup->users, &entry);
        if (lookup->users.empty()) {
            queue_.erase(lookup);
            lookups_.erase(Query(lookup->query));
        }
    }
    entry.needs = std::move(needs);
}

void Book::schedule(Lookup& lookup, base::Instant due) {
    lookup.due = due;
    queue_.insert(&lookup);
}

void Book::settle(Entry& entry, base::Instant now) {
    Composer composer(*this, now);
    std::optional<Answer> answer = composer.compose(entry.question);
    set_needs(entry, std::move(composer.needs));
    if (answer && (entry.answer == nullptr || *entry.answer != *answer)) {
        entry.answer = std::make_shared<const Answer>(std::move(*answer));
        changes_.push_back({entry.question, entry.answer});
    }
}

}  // namespace postern::names
