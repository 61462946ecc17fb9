/// What a block of host frames is used for.
///
/// The kind stands in the record of a block's first frame; the other frames' records say `.none`.
public enum FrameKind: UInt8, Hashable, Sendable, CaseIterable {
  /// Not the first frame of a block: part of a larger one, or never handed out.
  case none = 0
  /// The first frame of a free block.
  case free = 1
  /// A table that the MMU built for a processor.
  case table = 2
  /// A table of the host process's own address space, or of a file's page cache.
  case hostTable = 3
  /// A page of the host process that no file backs.
  case anonymous = 4
  /// A page of a file in the page cache.
  case file = 5
  /// The page of zeros that untouched anonymous memory shares.
  case zero = 6
  /// A frame of a device, never handed out.
  case device = 7
  /// A frame whose bytes are damaged, taken out of use for ever.
  case poisoned = 8
  /// A place in the swap area: the bytes of a page that was taken out of memory.
  case swapped = 9
}
