extension ELFCore {
  /// The core's memory as pieces of an image; `file` is what the core was read from.
  public func pieces(of file: FileBytes) throws(ImageError) -> [ImagePiece] {
    var pieces: [ImagePiece] = []
    pieces.reserveCapacity(segments.count)
    for segment in segments {
      try pieces.append(
        ImagePiece(
          start: segment.address, bytes: file.slice(segment.offset, count: segment.byteCount),
          place: segment.headerOffset))
    }
    return pieces
  }
}
