#include "postern/route/recipients.h"

#include <array>

#include <fmt/format.h>

#include "parsed.h"
#include "postern/base/assert.h"
#include "postern/mail/domain.h"
#include "postern/mail/local_part.h"
#include "words.h"

namespace postern::route {

namespace {

/// Names for each bucket, of five places: fuller costs probes, emptier costs memory.
constexpr std::size_t names_each = 4;

/// A list has more names than 32 bits choose buckets for only past this.
constexpr std::size_t names_max = std::size_t{1} << 30;

/// Of "local@domain", or "@domain" where `local_part` is empty: no local part is.
base::Hash128 hash_of(
    const base::HashKey& key, std::string_view local_part, std::string_view domain_key) {
    std::array<char, mail::local_part_octets_max + 1 + mail::domain_octets_max> name;
    POSTERN_ASSERT(
        local_part.size() + 1 + domain_key.size() <= name.size(), "a name of keys fits its room");
    char* at = name.data() + local_part.copy(name.data(), local_part.size());
    *at++ = '@';
    at += domain_key.copy(at, domain_key.size());
    return base::siphash128(key, {name.data(), static_cast<std::size_t>(at - name.data())});
}

}  // namespace

bool Recipients::has(const base::Hash128& hash) const {
    const auto more = static_cast<std::uint32_t>(hash.low >> 32);
    for (std::size_t at = bucket_of(hash);;) {
        const Bucket& bucket = buckets_[at];
        for (unsigned i = 0; i < bucket.used; ++i) {
            if (bucket.tag[i] == hash.high && bucket.more_tag[i] == more) {
                return true;
            }
        }
        if (!bucket.overflowed) {
            return false;
        }
        at = at + 1 == buckets_.size() ? 0 : at + 1;
    }
}

bool Recipients::has_name(std::string_view local_part, std::string_view domain_key) const {
    return has(hash_of(key_, local_part, domain_key));
}

bool Recipients::contains(std::string_view local_part, std::string_view domain_key) const {
    mail::LocalPartKey key;
    const bool nameable = mail::make_local_part_key(local_part, key);
    if (key.size > 0) {
        if (nameable && has_name(key.view(), domain_key)) {
            return true;
        }
        const std::string_view front = mail::before_delimiter(key.view(), recipient_delimiter_);
        if (!front.empty() && has_name(front, domain_key)) {
            return true;
        }
    }
    return has_name({}, domain_key);
}

/// Makes the list of the files. One use.
class RecipientsBuilder {
   public:
    RecipientsBuilder(
        std::span<const Source> sources,
        const std::string& recipient_delimiter,
        const base::HashKey& key)
        : sources_(sources), list_(new Recipients) {
        list_->key_ = key;
        list_->recipient_delimiter_ = recipient_delimiter;
    }

    LoadedRecipients build() {
        for (const Source& source : sources_) {
            list_->files_.emplace_back(source.name);
            read(source);
        }
        if (errors_.empty() && (hashes_.empty() || hashes_.size() > names_max)) {
            errors_.push_back(fmt::format(
                "{}:1:1: {} recipients in all files of the list; allowed: 1 to {}",
                sources_.empty() ? "recipients_files" : sources_.front().name,
                hashes_.size(),
                names_max));
        }
        if (!errors_.empty()) {
            return {nullptr, std::move(errors_)};
        }
        list_->buckets_.resize(hashes_.size() / names_each + 1);
        for (const base::Hash128& hash : hashes_) {
            put(hash);
        }
        return {std::move(list_), {}};
    }

   private:
    void read(const Source& source) {
        LineReader lines(source.text);
        while (lines.next()) {
            const Words& words = lines.words();
            const auto error = [&](std::size_t at, std::string_view what) {
                errors_.push_back(fmt::format(
                    "{}: {}", place(source.name, lines.number(), lines.line(), at), what));
            };
            if (words.count > 0 && lines.line()[words.words[0].begin] == '#') {
                continue;
            }
            if (words.count > 1) {
                error(
                    words.words[1].begin,
                    "one recipient a line, and nothing behind it (the second column of a Postfix "
                    "map is not needed here); allowed: local@domain or @domain");
            } else if (!lines.fault().empty()) {
                error(lines.fault_at(), lines.fault());
            } else {
                read_name(lines.line(), words.words[0], error);
            }
        }
    }

    template <class Error>
    void read_name(std::string_view line, const Word& word, Error&& error) {
        const std::string_view text = word_text(line, word, memory_);
        // Places inside a quoted word are not the line's: it is pointed at as a whole.
        const auto wrong = [&](std::size_t at, std::string_view what) {
            error(word.begin + (word.quoted ? 0 : at), what);
        };
        const std::size_t at = text.rfind('@');
        if (at == std::string_view::npos) {
            wrong(0, fmt::format("'{}' is no recipient; allowed: local@domain or @domain", text));
            return;
        }
        mail::LocalPartKey local_part;
        if (!mail::make_local_part_key(text.substr(0, at), local_part) ||
            (local_part.size == 0 && word.quoted)) {
            wrong(0, "a local part has 1 to 64 octets (RFC 5321, 4.5.3.1.1)");
            return;
        }
        if (local_part.view() == "*" || text.front() == '<') {
            wrong(
                0,
                fmt::format(
                    "'{}': allowed: local@domain without angle brackets, or @domain for every "
                    "recipient of that domain",
                    text));
            return;
        }
        const std::string_view domain = text.substr(at + 1);
        if (domain != domain_) {  // most often the one of the line before
            mail::DomainFault why;
            domain_.clear();
            if (!mail::make_domain_key(domain, domain_key_, &why)) {
                wrong(
                    at + 1 + why.at,
                    fmt::format(
                        "'{}' is no domain: {}; allowed: local@domain or @domain",
                        domain,
                        why.what));
                return;
            }
            domain_ = domain;
        }
        hashes_.push_back(hash_of(list_->key_, local_part.view(), domain_key_.view()));
    }

    void put(const base::Hash128& hash) {
        if (list_->has(hash)) {
            return;
        }
        std::vector<Recipients::Bucket>& buckets = list_->buckets_;
        std::size_t at = list_->bucket_of(hash);
        while (buckets[at].used == Recipients::Bucket::places) {
            buckets[at].overflowed = true;
            at = at + 1 == buckets.size() ? 0 : at + 1;
        }
        Recipients::Bucket& bucket = buckets[at];
        bucket.tag[bucket.used] = hash.high;
        bucket.more_tag[bucket.used] = static_cast<std::uint32_t>(hash.low >> 32);
        ++bucket.used;
        ++list_->count_;
    }

    std::span<const Source> sources_;
    std::shared_ptr<Recipients> list_;
    std::vector<base::Hash128> hashes_;
    std::vector<std::string> errors_;
    std::string domain_;
    mail::DomainKey domain_key_;
    std::string memory_;
};

LoadedRecipients load_recipients(
    std::span<const Source> sources,
    const std::string& recipient_delimiter,
    const base::HashKey& key) {
    return RecipientsBuilder(sources, recipient_delimiter, key).build();
}

}  // namespace postern::route
