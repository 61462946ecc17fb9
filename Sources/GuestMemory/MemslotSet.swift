import HostMemory
import Mutations
import PagingUnits
import Synchronization

/// One set of memslots: by number, sorted by guest frame, and sorted by host address (KVM:
/// `kvm_memslots`).
///
/// Readers see a set only while it is published, and then it does not change; the two exceptions
/// are the generation, one atomic word, and the mirror step, which the machine takes after the last
/// reader has gone.
@safe struct MemslotSet: ~Copyable {
  let generation: Atomic<UInt64>
  /// By slot number; rows from `rowCount` on are not initialised, and absent slots have no frames.
  private let rows: UnsafeMutablePointer<Memslot>
  private var rowCount = 0
  /// Sorted by base frame: the frames and the slots' numbers.
  private let bases: UnsafeMutablePointer<UInt64>
  private let byFrame: UnsafeMutablePointer<UInt16>
  /// Sorted by host address: the addresses, the highest end so far, and the slots' numbers.
  private let starts: UnsafeMutablePointer<UInt64>
  private let highestEnds: UnsafeMutablePointer<UInt64>
  private let byHost: UnsafeMutablePointer<UInt16>
  private(set) var count = 0

  init(generation: UInt64) {
    let capacity = Int(MemslotID.count)
    self.generation = Atomic(generation)
    // SAFETY: elements below the counts are initialised when slots come; all is freed in `deinit`.
    unsafe rows = .allocate(capacity: capacity)
    unsafe bases = .allocate(capacity: capacity)
    unsafe byFrame = .allocate(capacity: capacity)
    unsafe starts = .allocate(capacity: capacity)
    unsafe highestEnds = .allocate(capacity: capacity)
    unsafe byHost = .allocate(capacity: capacity)
  }

  deinit {
    // SAFETY: allocated in `init`; all elements are plain values.
    unsafe rows.deallocate()
    unsafe bases.deallocate()
    unsafe byFrame.deallocate()
    unsafe starts.deallocate()
    unsafe highestEnds.deallocate()
    unsafe byHost.deallocate()
  }

  // MARK: Finding

  /// The slot with this number.
  func slot(_ id: MemslotID) -> Memslot? {
    guard Int(id.number) < rowCount else { return nil }
    // SAFETY: rows below `rowCount` are initialised.
    let slot = unsafe rows[Int(id.number)]
    return slot.frameCount == 0 ? nil : slot
  }

  /// The slot that holds `frame`: the one last found, or by binary search.
  @inline(__always)
  func slot(containing frame: GuestFrame, hint: inout UInt16) -> Memslot? {
    if Int(hint) < rowCount {
      // SAFETY: rows below `rowCount` are initialised.
      let slot = unsafe rows[Int(hint)]
      if Mutation.slotHintNotChecked.isActive && slot.frameCount > 0 { return slot }
      if slot.contains(frame) { return slot }
    }
    guard count > 0 else { return nil }
    let position = lastBase(notAbove: frame.number)
    // SAFETY: the position is below `count`, and the numbers found there name initialised rows.
    let id = unsafe byFrame[position]
    // SAFETY: as above.
    let slot = unsafe rows[Int(id)]
    if Mutation.slotSearchOffEnd.isActive { return slot }
    guard slot.contains(frame) else { return nil }
    hint = id
    return slot
  }

  /// The position of the last slot that starts at or below `number`, or 0; there is a slot.
  @inline(__always)
  private func lastBase(notAbove number: UInt64) -> Int {
    var position = 0
    var length = count
    while length > 1 {
      let half = length &>> 1
      // SAFETY: position + half stays below `count`, which bounds the initialised keys.
      position = unsafe bases[position &+ half] <= number ? position &+ half : position
      length &-= half
    }
    return position
  }

  /// The slot at a position in the order of frames.
  func slot(atPosition position: Int) -> Memslot? {
    guard position < count else { return nil }
    // SAFETY: the position is below `count`, and the number there names an initialised row.
    return unsafe rows[Int(byFrame[position])]
  }

  /// The position of the first slot that ends after `frame`.
  func firstPosition(endingAfter frame: GuestFrame) -> Int {
    guard count > 0 else { return 0 }
    let position = lastBase(notAbove: frame.number)
    guard let slot = slot(atPosition: position) else { return position }
    return slot.frames.upperBound <= frame ? position + 1 : position
  }

  /// The slot at a position in the order of host addresses.
  func slot(atHostPosition position: Int) -> Memslot? {
    guard position < count else { return nil }
    // SAFETY: the position is below `count`, and the number there names an initialised row.
    return unsafe rows[Int(byHost[position])]
  }

  /// The first position in the order of host addresses at which a slot may end after `address`.
  func firstHostPosition(endingAfter address: HostVirtual) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      // SAFETY: the index is below `count`.
      if unsafe highestEnds[middle] <= address.raw { low = middle + 1 } else { high = middle }
    }
    return low
  }

  // MARK: Changing, while the set is not published

  /// Puts `new` in the place of `old`; either may be missing, not both.
  mutating func replace(_ old: Memslot?, with new: Memslot?) {
    if let old, let new, old.baseFrame == new.baseFrame, old.hostAddress == new.hostAddress {
      // SAFETY: the old slot's row is initialised.
      unsafe rows[Int(new.id.number)] = new
      return
    }
    if let old { remove(old) }
    if let new { insert(new) }
  }

  private mutating func insert(_ slot: Memslot) {
    let id = slot.id.number
    var empty = slot
    empty.frameCount = 0
    while rowCount <= Int(id) {
      // SAFETY: ids are below the capacity.
      unsafe (rows + rowCount).initialize(to: empty)
      rowCount += 1
    }
    // SAFETY: the row is initialised.
    unsafe rows[Int(id)] = slot
    let last = count == 0 ? 0 : lastBase(notAbove: slot.baseFrame.number)
    // SAFETY: the position is below `count`, if there are any.
    let isFirst = unsafe count == 0 || bases[last] > slot.baseFrame.number
    let position = isFirst ? 0 : last + 1
    // SAFETY: the arrays have `count` elements, fewer than their capacity: the id is new.
    unsafe Self.insert(
      slot.baseFrame.number, into: bases, at: position, of: count)
    unsafe Self.insert(id, into: byFrame, at: position, of: count)
    let hostPosition = hostPosition(of: slot)
    unsafe Self.insert(slot.hostAddress.raw, into: starts, at: hostPosition, of: count)
    unsafe Self.insert(0, into: highestEnds, at: hostPosition, of: count)
    unsafe Self.insert(id, into: byHost, at: hostPosition, of: count)
    count += 1
    refreshEnds(from: hostPosition)
  }

  /// Opens a gap at `position` in an array of `count` elements, which has room for one more.
  private static func insert<Element: BitwiseCopyable>(
    _ element: Element, into array: UnsafeMutablePointer<Element>, at position: Int, of count: Int
  ) {
    precondition(0 <= position && position <= count && count < Int(MemslotID.count))
    // SAFETY: the elements from the position on move up by one, inside the capacity.
    unsafe (array + position + 1).update(from: array + position, count: count - position)
    unsafe array[position] = element
  }

  /// Closes the gap at `position` in an array of `count` elements.
  private static func remove<Element: BitwiseCopyable>(
    from array: UnsafeMutablePointer<Element>, at position: Int, of count: Int
  ) {
    precondition(0 <= position && position < count)
    // SAFETY: the elements after the position move down by one.
    unsafe (array + position).update(from: array + position + 1, count: count - position - 1)
  }

  /// The first position in the order of host addresses, then numbers, that is not before `slot`.
  private func hostPosition(of slot: Memslot) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      // SAFETY: the index is below `count`.
      if unsafe isAfter(slot, starts[middle], byHost[middle]) {
        high = middle
      } else {
        // The slot itself, when it is in the set, is found at its own position.
        if unsafe byHost[middle] == slot.id.number { return middle }
        low = middle + 1
      }
    }
    return low
  }

  /// Whether the slot that starts at `start` comes after `slot` in the order of host addresses.
  private func isAfter(_ slot: Memslot, _ start: UInt64, _ id: UInt16) -> Bool {
    start != slot.hostAddress.raw ? start > slot.hostAddress.raw : id > slot.id.number
  }

  private mutating func remove(_ slot: Memslot) {
    let position = lastBase(notAbove: slot.baseFrame.number)
    let hostPosition = hostPosition(of: slot)
    // SAFETY: the slot is in the set, so that there are positions.
    precondition(
      unsafe byFrame[position] == slot.id.number && byHost[hostPosition] == slot.id.number,
      "a slot that goes is in both orders")
    // SAFETY: the arrays have `count` elements, and both positions are below it.
    unsafe Self.remove(from: bases, at: position, of: count)
    unsafe Self.remove(from: byFrame, at: position, of: count)
    unsafe Self.remove(from: starts, at: hostPosition, of: count)
    unsafe Self.remove(from: highestEnds, at: hostPosition, of: count)
    unsafe Self.remove(from: byHost, at: hostPosition, of: count)
    count -= 1
    // SAFETY: the slot's row is initialised.
    unsafe rows[Int(slot.id.number)].frameCount = 0
    refreshEnds(from: hostPosition)
  }

  /// Makes the highest ends right from `position` on, where one slot came or went.
  private func refreshEnds(from position: Int) {
    // SAFETY: the position is at most `count`; a position above 0 has one before it.
    var highest = position == 0 ? 0 : unsafe highestEnds[position - 1]
    for index in position..<max(position, count) {
      // SAFETY: the index is below `count`, and the number there names an initialised row.
      if Mutation.hostRangesOverlapUnseen.isActive { highest = 0 }
      highest = unsafe max(highest, rows[Int(byHost[index])].hostRange.upperBound.raw)
      // From where the highest end is as it was, all that follow are.
      if unsafe highestEnds[index] == highest { return }
      unsafe highestEnds[index] = highest
    }
  }
}
