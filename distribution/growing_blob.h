// A blob that can be sent while it is written: its writer tells img-remote through a socket of
// their own how far it is (Session::startGrowing).
#pragma once

#include <cstdint>

#include "base/digest.h"
#include "base/fd.h"
#include "base/stream.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::distribution {

class GrowingBlob final : public Sink {
 public:
  // Who reads the other end gets the file, open for reading only. An empty socket: nobody is told.
  GrowingBlob(const store::Layout& layout, Fd socket);
  void write(std::span<const std::byte> bytes) override;
  // Makes the blob visible; its name is durable after store::syncBlobs().
  store::Descriptor commit();

 private:
  void tell(int file = -1);

  const store::Layout& layout_;
  Fd socket_;
  store::IngestDir folder_;
  Fd file_;
  Hasher hasher_;
  std::uint64_t size_ = 0, told_ = 0, writtenBack_ = 0;
};

}  // namespace img::distribution
