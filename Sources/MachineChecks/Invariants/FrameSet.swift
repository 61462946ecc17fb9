import PagingUnits

/// Which host frames a scan has met: a hash table of their numbers, as large as what was met.
struct FrameSet {
  /// Frame numbers plus one; 0 is an empty place.
  private var places = [UInt64](repeating: 0, count: 64)
  private var count = 0

  /// Adds a frame; whether it is new.
  mutating func insert(_ frame: HostFrame) -> Bool {
    if count * 2 >= places.count { grow() }
    guard Self.put(frame.number + 1, into: &places) else { return false }
    count += 1
    return true
  }

  private static func put(_ key: UInt64, into places: inout [UInt64]) -> Bool {
    var place = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & (places.count - 1)
    while places[place] != 0 {
      if places[place] == key { return false }
      place = (place + 1) & (places.count - 1)
    }
    places[place] = key
    return true
  }

  private mutating func grow() {
    var larger = [UInt64](repeating: 0, count: places.count * 2)
    for key in places where key != 0 { _ = Self.put(key, into: &larger) }
    places = larger
  }
}
