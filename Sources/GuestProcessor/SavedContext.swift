/// A copy of everything the engine knows of the processor, including what has no register number.
@safe final class SavedContext {
  let block: UnsafeMutableRawPointer
  private let engine: Engine
  let byteCount: Int

  // SAFETY: `allocateContext` gives a block of this size, which is freed once, here.

  @unsafe init(block: UnsafeMutableRawPointer, byteCount: Int, engine: Engine) {
    unsafe self.block = block
    self.byteCount = byteCount
    self.engine = engine
  }

  deinit { unsafe engine.free(block) }

  /// The 4-byte word at an offset inside the block.
  subscript(word offset: Int) -> UInt32 {
    get {
      precondition(offset >= 0 && offset + 4 <= byteCount, "a word lies inside the context")
      // SAFETY: in bounds.
      return unsafe block.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    }
    set {
      precondition(offset >= 0 && offset + 4 <= byteCount, "a word lies inside the context")
      // SAFETY: in bounds.
      unsafe block.storeBytes(of: newValue, toByteOffset: offset, as: UInt32.self)
    }
  }

  /// The 8-byte word at an offset inside the block.
  subscript(long offset: Int) -> UInt64 {
    get { UInt64(self[word: offset]) | UInt64(self[word: offset + 4]) << 32 }
    set {
      self[word: offset] = UInt32(truncatingIfNeeded: newValue)
      self[word: offset + 4] = UInt32(truncatingIfNeeded: newValue >> 32)
    }
  }

  /// The block's 4-byte words, to compare with another moment's.
  func words() -> [UInt32] { stride(from: 0, to: byteCount - 3, by: 4).map { self[word: $0] } }
}
