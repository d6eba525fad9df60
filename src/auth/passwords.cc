#include "postern/auth/passwords.h"

#include <crypt.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "postern/base/secret.h"

namespace postern::auth {
namespace {

/// Behind the last '$', where the salt ends: so many characters of the alphabet ./0-9A-Za-z.
constexpr std::size_t sha512_hash_size = 86;
constexpr std::size_t yescrypt_hash_size = 43;
constexpr std::size_t bcrypt_size = 60;  // salt and hash have no '$' between them

bool is_one_of_hash(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '/';
}

/// Whether a hash is whole and of a method that withstands guessing. What is cut off would match no
/// password, which its owner would find out and nobody else.
bool is_hash(const std::string& hash) {
    if (crypt_checksalt(hash.c_str()) != CRYPT_SALT_OK) {
        return false;
    }
    const std::string_view last = std::string_view(hash).substr(hash.rfind('$') + 1);
    if (!std::all_of(last.begin(), last.end(), is_one_of_hash)) {
        return false;
    }
    const auto begins = [&hash](std::string_view prefix) { return hash.starts_with(prefix); };
    if (begins("$y$")) {
        return last.size() == yescrypt_hash_size;
    }
    if (begins("$2b$") || begins("$2y$") || begins("$2a$")) {
        return hash.size() == bcrypt_size;
    }
    return begins("$6$") && last.size() == sha512_hash_size;
}

std::string_view take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    return line;
}

}  // namespace

Hasher::Hasher() : data_(std::make_unique<crypt_data>()) {}

Hasher::~Hasher() = default;

Passwords::Loaded Passwords::parse(
    std::string_view text, const std::string& file, const base::HashKey& key) {
    Loaded loaded;
    std::shared_ptr<Passwords> passwords(new Passwords(key));
    std::vector<std::size_t> lines;  // of each hash
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::string_view line = take_line(text);
        // Never the line itself: it may be a password that somebody has put there.
        const auto error = [&](const std::string& what) {
            loaded.errors.push_back(file + ":" + std::to_string(number) + ":1: " + what);
        };
        if (line.empty() || line.starts_with('#')) {
            continue;
        }
        const std::size_t colon = line.find(':');
        const std::string_view name = line.substr(0, colon);
        if (colon == std::string_view::npos || name.empty() || name.size() > name_octets_max ||
            name.find('\0') != std::string_view::npos) {
            error("this is no NAME:HASH; allowed: a name of up to 255 octets, a colon, a hash");
            continue;
        }
        const std::string hash(line.substr(colon + 1));
        if (!is_hash(hash)) {
            error(
                "this is no whole hash of a kind that is safe; allowed: yescrypt ($y$), bcrypt "
                "($2b$) or SHA-512 ($6$), as `mkpasswd -m yescrypt` or `openssl passwd -6` print "
                "it");
            continue;
        }
        const auto [place, is_new] = passwords->places_.emplace(name, passwords->hashes_.size());
        if (!is_new) {
            error("this name stands in line " + std::to_string(lines[place->second]) + " too");
            continue;
        }
        passwords->hashes_.push_back(hash);
        lines.push_back(number);
    }
    if (loaded.errors.empty()) {
        loaded.passwords = std::move(passwords);
    }
    return loaded;
}

bool Passwords::check(Hasher& hasher, std::string_view name, std::string_view password) const {
    if (hashes_.empty()) {
        return false;
    }
    const auto known = places_.find(name);
    const std::size_t place =
        known != places_.end() ? known->second : base::siphash(key_, name) % hashes_.size();
    // crypt(3) reads up to a NUL: what stands behind one would count for nothing.
    const bool possible =
        password.size() <= password_octets_max && password.find('\0') == std::string_view::npos;
    std::array<char, password_octets_max + 1> phrase{};
    if (possible) {
        std::memcpy(phrase.data(), password.data(), password.size());
    }
    const std::string& hash = hashes_[place];
    const char* const found =
        crypt_rn(phrase.data(), hash.c_str(), hasher.data_.get(), sizeof(crypt_data));
    const bool good = found != nullptr && base::equal_in_constant_time(found, hash);
    base::wipe(phrase);
    explicit_bzero(hasher.data_.get(), sizeof(crypt_data));
    return good && possible && known != places_.end();
}

}  // namespace postern::auth
