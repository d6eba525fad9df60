#include "postern/route/decide.h"

#include <strings.h>

#include <algorithm>

#include "postern/mail/local_part.h"

namespace postern::route {

namespace {

/// Puts texts one behind the other into the decision's memory, cut where it ends.
class Writer {
   public:
    explicit Writer(DecisionText& memory) : memory_(memory) {}

    /// Printable ASCII as it is, other octets as "?": what a reply line may hold.
    Writer& printable(std::string_view piece) {
        for (char c : piece) {
            put(c >= ' ' && c <= '~' ? c : '?');
        }
        return *this;
    }

    Writer& exact(std::string_view piece) {
        for (char c : piece) {
            put(c);
        }
        return *this;
    }

    std::string_view text() const { return {memory_.data(), size_}; }

   private:
    void put(char c) {
        if (size_ < memory_.size()) {
            memory_[size_++] = c;
        }
    }

    DecisionText& memory_;
    std::size_t size_ = 0;
};

constexpr mail::Reply no_postmaster{550, {5, 1, 1}, "no postmaster here"};
constexpr mail::Reply routed_local_part{
    553, {5, 1, 3}, "a local part may not hold a route (@ % ! : or a leading / or |)"};

bool is_postmaster(const RecipientParts& recipient) {
    mail::LocalPartKey key;
    return mail::make_local_part_key(recipient.local_part, key) && key.view() == "postmaster";
}

bool is_ours(const RelaySettings& settings, std::string_view key) {
    return key.empty() || std::find(settings.own_keys.begin(), settings.own_keys.end(), key) !=
                              settings.own_keys.end();
}

mail::Reply denied(const RelaySettings& settings, std::string_view address, DecisionText& text) {
    std::string_view words =
        Writer(text).printable("<").printable(address).printable(">: relaying denied").text();
    return settings.soft_reject ? mail::Reply{450, {4, 7, 1}, words}
                                : mail::Reply{550, {5, 7, 1}, words};
}

/// What a rule that refuses says. RFC 3463: X.1.1 is about the mailbox, X.1.2 about the system.
mail::Reply refusal(const Table& table, const Target& target, std::uint32_t rule) {
    std::string_view words = target.text;
    if (target.kind == TargetKind::defer) {
        return {450, {4, 1, 2}, words.empty() ? "mail is not taken at this time" : words};
    }
    std::uint16_t detail = table.text_of(rule).kind == Pattern::user ? 1 : 2;
    return {550, {5, 1, detail}, words.empty() ? "mail is not taken here" : words};
}

}  // namespace

Decision decide(
    const Table& table,
    const RelaySettings& settings,
    const RecipientParts& recipient,
    bool trusted,
    DecisionText& text) {
    std::string_view address = recipient.address;
    Query query{recipient.domain_key, recipient.local_part};
    bool postmaster = is_ours(settings, recipient.domain_key) && is_postmaster(recipient);
    bool redirected = postmaster && !settings.postmaster.empty();  // anyone may write to that one
    if (redirected) {
        address = settings.postmaster;
        query = {settings.postmaster_key, address.substr(0, address.rfind('@'))};
    } else if (recipient.domain_key.empty()) {
        return {no_postmaster, {}, {}};
    }
    if (!trusted && !postmaster && !settings.routed_local_parts &&
        mail::is_routed_local_part(recipient.local_part)) {
        return {routed_local_part, {}, {}};
    }
    Match match = table.look_up(query);
    if (!match.found()) {
        return {postmaster ? no_postmaster : denied(settings, recipient.address, text), {}, {}};
    }
    const Action& action = table.action(match.action);
    const Target& target = table.targets()[action.target];
    if (action.restricted && !trusted && !redirected) {
        return {postmaster ? no_postmaster : denied(settings, recipient.address, text), match, {}};
    }
    if (target.kind == TargetKind::reject || target.kind == TargetKind::defer) {
        return {refusal(table, target, match.rule), match, {}};
    }
    if (const Recipients* list = table.recipients_of(action.target)) {
        // Either as it was named, or as the smart host is going to be told.
        const bool listed =
            list->contains(query.local_part, query.domain_key) ||
            (!action.rewrite.empty() && list->contains(query.local_part, action.rewrite));
        if (!listed) {
            return {unlisted_recipient, match, {}, true};
        }
    }
    Decision decision{{}, match, {}};
    if (!action.rewrite.empty()) {
        decision.outgoing =
            Writer(text).exact(query.local_part).exact("@").exact(action.rewrite).text();
    } else if (address != recipient.address) {
        decision.outgoing = address;
    }
    return decision;
}

}  // namespace postern::route
