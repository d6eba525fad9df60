#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "postern/base/siphash.h"

struct crypt_data;

/// Who may say AUTH, and with which password: a file of names and crypt(3) hashes. The room's only
/// other thing is the thread that hashes (checker.h); the only includer of <crypt.h>.
namespace postern::auth {

/// RFC 4616, section 2: at least 255 octets each are to be taken.
constexpr std::size_t name_octets_max = 255;
constexpr std::size_t password_octets_max = 511;  // crypt(3) takes no more

/// What hashing needs of memory; nothing of a password is left there behind a check. One thread at
/// a time.
class Hasher {
   public:
    Hasher();
    ~Hasher();
    Hasher(const Hasher&) = delete;
    Hasher& operator=(const Hasher&) = delete;

   private:
    friend class Passwords;
    std::unique_ptr<crypt_data> data_;
};

/// One file's names and hashes. Immutable; any thread.
class Passwords {
   public:
    struct Loaded {
        std::shared_ptr<const Passwords> passwords;  // null when there are errors
        std::vector<std::string> errors;             // "FILE:LINE:1: what is wrong"
    };

    /// `text`: of a file with a line NAME:HASH each; empty lines and those that begin with '#' say
    /// nothing. Hashes are those of yescrypt ($y$), bcrypt ($2b$) and SHA-512 ($6$). `key`: random.
    static Loaded parse(std::string_view text, const std::string& file, const base::HashKey& key);

    std::size_t size() const { return hashes_.size(); }

    /// Is it the name's password? Takes a tenth of a second or so, and for a name that is not there
    /// as long as for one that is: the password is then held against another one's hash. Where
    /// names have hashes of unlike cost, a name that is not there always costs as much as the same
    /// one of them.
    bool check(Hasher& hasher, std::string_view name, std::string_view password) const;

   private:
    explicit Passwords(const base::HashKey& key) : key_(key) {}

    struct HashOf {
        using is_transparent = void;

        std::size_t operator()(std::string_view text) const {
            return std::hash<std::string_view>()(text);
        }
    };

    const base::HashKey key_;
    std::vector<std::string> hashes_;
    std::unordered_map<std::string, std::size_t, HashOf, std::equal_to<>> places_;  // by name
};

}  // namespace postern::auth
